"""The same bits for rows of any layout, dtype and number."""

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_CASE, identify, row_inputs, with_class_weights
from tests.support.rows import CE, FEW_WIDTHS, FORMS, assert_same, everything, rows


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [CE, nl.Brier()], ids=identify)
def test_few_huge_rows_are_computed_as_they_are_among_others(loss, form, dtype):
    for classes in (20_000, 300_000):
        logits, target = rows(form, 3, classes, dtype=dtype)
        batch = np.resize(logits, (24, classes))
        of_batch = np.resize(target, (24, *target.shape[1:]))
        among = everything(loss, batch, of_batch, reduction="none")
        for count in (1, 2, 3):
            few = everything(loss, logits[:count], target[:count], reduction="none")
            for one, other in zip(few, among):
                np.testing.assert_array_equal(one, other[:count])
        del among


@pytest.mark.every(30)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("classes", FEW_WIDTHS)
@pytest.mark.parametrize("kind", ["f2", "f4", ">f4", "f8", ">f8", ml_dtypes.bfloat16])
def test_layouts_and_dtypes_change_no_bit(loss, form, classes, kind):
    of_width = with_class_weights(loss, classes, 5)
    kind = np.dtype(kind)
    logits, target = row_inputs(loss, form, 35, classes, seed=12)
    logits = logits.astype(kind)
    real = np.float64 if kind.itemsize == 8 else np.float32
    plain = everything(of_width, logits.astype(real), target, reduction="none")
    with np.errstate(all="ignore"):
        wanted = [plain[0], *(one.astype(kind) for one in plain[1:])]
    shifted = np.zeros(logits.nbytes + 1, np.uint8)[1:].view(kind).reshape(logits.shape)
    shifted[...] = logits
    spread = np.zeros((70, 3 * classes), kind)[::2, ::3]
    spread[...] = logits
    layouts = {
        "contiguous": logits,
        "fortran": np.asfortranarray(logits),
        "reversed": np.ascontiguousarray(logits[::-1, ::-1])[::-1, ::-1],
        "spread": spread,
        "unaligned": shifted,
    }
    for name, given in layouts.items():
        placed = np.asfortranarray(target) if name == "fortran" else target
        placed = np.repeat(target, 2, axis=0)[::2] if name == "spread" else placed
        got = everything(of_width, given, placed, reduction="none")
        assert got[1].dtype == kind
        for one, other in zip(got, wanted):
            np.testing.assert_array_equal(
                one.astype(np.float64), other.astype(np.float64), err_msg=name
            )


def test_memory_mapped_logits_are_read_where_they_lie(tmp_path):
    logits, labels = rows("labels", 50, 7, dtype=np.float32)
    np.save(tmp_path / "logits.npy", logits)
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    got = everything(CE, mapped, labels)
    assert type(got[1]) is np.ndarray
    assert_same(got, everything(CE, logits, labels))


def test_pandas_columns_are_labels_and_weights():
    pandas = pytest.importorskip("pandas")
    logits, labels = rows("labels", 10, 3)
    frame = pandas.DataFrame({"y": labels, "w": np.linspace(0.1, 1.0, 10), "m": labels > 0})
    got = everything(CE, logits, frame["y"], sample_weight=frame["w"], mask=frame["m"])
    wanted = everything(CE, logits, labels, sample_weight=frame["w"].to_numpy(), mask=labels > 0)
    assert_same(got, wanted)
    columns = pandas.DataFrame(logits, columns=list("abc"))
    assert_same(everything(CE, columns, frame["y"]), everything(CE, logits, labels))
