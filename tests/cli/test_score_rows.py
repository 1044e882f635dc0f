"""Losses of many classes: every way to write them down gives what the library gives."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import numbaloss as nl

CLASSES = 4
NAMES = ("cat", "dog", "bird", "fish")
LOSSES = {"ce": nl.CrossEntropy(), "brier": nl.Brier()}
ARGUMENTS = [part for text in LOSSES for part in ("--loss", text)]
COLUMNS = ("-p", "logit_*", "-t", "label")


class Many:
    """More rows than a batch holds, and not a multiple of it."""

    def __init__(self, size):
        random = np.random.default_rng(3)
        self.logits = random.standard_normal((size, CLASSES), np.float32)
        self.label = random.integers(0, CLASSES, size)
        self.weight = random.random(size, np.float32)

    def columns(self, names=range(CLASSES)):
        logits = {f"logit_{name}": self.logits[:, j] for j, name in enumerate(names)}
        return {**logits, "label": self.label, "weight": self.weight}

    def named(self):
        return [NAMES[label] for label in self.label]


@pytest.fixture
def many():
    return Many(150_001)


@pytest.fixture
def few():
    return Many(50)


def check(found, given, reduction="mean", losses=LOSSES, target=None, **options):
    assert found["rows"] == len(given.label)
    assert found["classes"] == CLASSES
    logits = given.logits.astype(found["dtype"])
    target = given.label if target is None else target
    tolerance = 2e-6 if found["dtype"] == "float32" else 1e-13
    for one, loss in zip(found["losses"], losses.values(), strict=True):
        value, gradient = loss.value_and_grad(logits, target, reduction=reduction, **options)
        norm = float(np.linalg.norm(gradient.astype(np.float64)))
        assert one["value"] == pytest.approx(value, rel=tolerance)
        assert one["gradient_norm"] == pytest.approx(norm, rel=tolerance)
        assert one["not_finite"] == 0


def lists(logits):
    starts = pa.array(np.arange(0, logits.size + 1, CLASSES, dtype=np.int32))
    return pa.ListArray.from_arrays(starts, pa.array(logits.ravel()))


def write_columns(folder, given):
    pq.write_table(pa.table(given.columns()), folder / "x.parquet", row_group_size=70_000)
    return folder / "x.parquet", COLUMNS


def write_folder(folder, given):
    table = pa.table(given.columns())
    (folder / "parts").mkdir()
    pq.write_table(table.slice(0, 1000), folder / "parts" / "0.parquet")
    pq.write_table(table.slice(1000), folder / "parts" / "1.parquet")
    return folder / "parts", (
        "-p",
        "logit_0,logit_1",
        "-p",
        "logit_2",
        "-p",
        "logit_3",
        *COLUMNS[2:],
    )


def write_lists(folder, given):
    columns = {"prediction": lists(given.logits), "target": given.label}
    pq.write_table(pa.table(columns), folder / "x.parquet", row_group_size=70_000)
    return folder / "x.parquet", ()


def write_fixed_lists(folder, given):
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(given.logits.ravel()), CLASSES)
    columns = {"prediction": fixed, "target": given.label.astype(np.int8)}
    pq.write_table(pa.table(columns), folder / "x.parquet", row_group_size=70_000)
    return folder / "x.parquet", ()


def write_csv(folder, given):
    columns = {name: column.astype(float) for name, column in given.columns().items()}
    pyarrow.csv.write_csv(pa.table(columns | {"label": given.label}), folder / "x.csv")
    return folder / "x.csv", COLUMNS


def write_npz(folder, given):
    np.savez(folder / "x.npz", prediction=given.logits, target=given.label)
    return folder / "x.npz", ()


def write_turned_npz(folder, given):
    logits = np.asfortranarray(given.logits)
    np.savez_compressed(folder / "x.npz", prediction=logits, target=given.label)
    return folder / "x.npz", ()


def write_plain(folder, given):
    np.save(folder / "x.npy", np.column_stack([given.label, given.logits]).astype(np.float32))
    return folder / "x.npy", ("-p", "1:", "-t", "0")


def write_turned_plain(folder, given):
    table = np.column_stack([given.logits, given.label]).astype(">f4")
    np.save(folder / "x.npy", np.asfortranarray(table))
    return folder / "x.npy", ("-p", "*", "-t", "-1")


def write_records(folder, given):
    records = np.empty(len(given.label), [("target", "u1"), ("prediction", "f4", (CLASSES,))])
    records["target"], records["prediction"] = given.label, given.logits
    np.save(folder / "x.npy", records)
    return folder / "x.npy", ()


WRITERS = [value for name, value in list(globals().items()) if name.startswith("write_")]


@pytest.mark.parametrize("write", WRITERS, ids=lambda function: function.__name__[6:])
def test_value_and_gradient_norm_are_those_of_the_whole_arrays(command, tmp_path, many, write):
    path, names = write(tmp_path, many)
    found = command("score", path, *ARGUMENTS, *names, "--json").json
    assert found["dtype"] == ("float64" if write is write_csv else "float32")
    check(found, many)


REDUCED = {
    "ce:class_weight=1/2/0.5/3,ignore_index=2": nl.CrossEntropy([1, 2, 0.5, 3], ignore_index=2),
    "ce:label_smoothing=0.1": nl.CrossEntropy(label_smoothing=0.1),
    "poly1:ignore_index=0": nl.Poly1(ignore_index=0),
}


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_reductions_count_rows_and_weights_as_the_library(
    command, tmp_path, many, reduction, weighted
):
    path, names = write_columns(tmp_path, many)
    weight = ("--weight", "weight") if weighted else ()
    losses = [part for text in REDUCED for part in ("--loss", text)]
    arguments = (*losses, *names, *weight, "--reduction", reduction, "--json")
    found = command("score", path, *arguments).json
    options = {"sample_weight": many.weight} if weighted else {}
    check(found, many, reduction, REDUCED, **options)
    ignored = [one["rows_ignored"] for one in found["losses"]]
    assert ignored == [(many.label == 2).sum(), 0, (many.label == 0).sum()]
    again = command("score", path, *arguments, "--threads", 5).json
    assert again["losses"] == found["losses"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["columns", "lists", "npz"])
def test_dense_targets(command, tmp_path, few, weighted, kind):
    target = np.random.default_rng(0).dirichlet(np.ones(CLASSES), len(few.label)).astype(np.float32)
    path, names = tmp_path / "x.parquet", ()
    if kind == "columns":
        # The columns of both patterns are in another order in the file, each in its own.
        columns = {f"t_{j}": target[:, j] for j in (2, 0, 1, 3)}
        columns |= {f"p_{j}": few.logits[:, j] for j in (3, 2, 1, 0)}
        pq.write_table(pa.table(columns | {"weight": few.weight}), path)
        names = ("-p", "p_*", "-t", "t_*")
    elif kind == "lists":
        columns = {"prediction": lists(few.logits), "target": lists(target), "weight": few.weight}
        pq.write_table(pa.table(columns), path)
    else:
        path = tmp_path / "x.npz"
        np.savez(path, prediction=few.logits, target=target, weight=few.weight)
    losses = {"kl": nl.KLDivergence(), "ce:class_weight=1/2/3/4": nl.CrossEntropy([1, 2, 3, 4])}
    arguments = [part for text in losses for part in ("--loss", text)]
    weight = ("--weight", "weight") if weighted else ()
    found = command(
        "score", path, *arguments, *names, *weight, "--reduction", "weighted_mean", "--json"
    ).json
    options = {"sample_weight": few.weight} if weighted else {}
    check(found, few, "weighted_mean", losses, target, **options)


def test_logits_of_a_teacher(command, tmp_path, few):
    teacher = few.logits[::-1].copy()
    np.savez(tmp_path / "x.npz", prediction=few.logits, teacher=teacher)
    arguments = ("--loss", "distillation:temperature=3", "-t", "teacher", "--json")
    found = command("score", tmp_path / "x.npz", *arguments).json
    check(found, few, losses={"": nl.Distillation(3.0)}, target=teacher)


def test_labels_are_text(command, tmp_path, few):
    turned = dict(sorted(few.columns(NAMES).items()))  # not in the order of the classes
    pq.write_table(pa.table(turned | {"label": few.named()}), tmp_path / "x.parquet")
    dictionary = pa.array(few.named()).dictionary_encode()
    pq.write_table(pa.table(turned | {"label": dictionary}), tmp_path / "y.parquet")
    pyarrow.csv.write_csv(pa.table(turned | {"label": few.named()}), tmp_path / "x.csv")
    np.savez(tmp_path / "x.npz", logits=few.logits, label=np.array(few.named()))
    classes = ("--classes", ",".join(NAMES))
    listed = ",".join(f"logit_{name}" for name in NAMES)
    for name, arguments in [
        ("x.parquet", COLUMNS),
        ("y.parquet", COLUMNS),
        ("x.csv", COLUMNS),
        ("x.parquet", (*COLUMNS, *classes)),
        ("x.csv", ("-p", listed, "-t", "label", *classes)),
        ("x.npz", ("-p", "logits", "-t", "label", *classes)),
    ]:
        found = command("score", tmp_path / name, *ARGUMENTS, *arguments, "--json").json
        for one, loss in zip(found["losses"], LOSSES.values(), strict=True):
            assert one["value"] == pytest.approx(loss(few.logits, few.label), rel=1e-6)


def test_columns_are_found_by_their_numbers(command, tmp_path, few):
    shifted = {f"p_{j}": few.logits[:, j - 8] for j in (10, 11, 8, 9)}
    for label in (few.label + 8, (few.label + 8).astype(str)):
        pq.write_table(pa.table(shifted | {"label": label}), tmp_path / "x.parquet")
        names = ("-p", "p_*", "-t", "label")
        check(command("score", tmp_path / "x.parquet", *ARGUMENTS, *names, "--json").json, few)
    np.savez(tmp_path / "x.npz", prediction=few.logits, target=np.array([7, -5, 9, 3])[few.label])
    names = ("--classes", "7,-5,9,3")
    check(command("score", tmp_path / "x.npz", *ARGUMENTS, *names, "--json").json, few)


def test_numbers_are_names_where_other_names_are_text(command, tmp_path, few):
    label = np.array([1, 0, 2, 3])[few.label]
    columns = {"prediction": lists(few.logits), "target": label}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    names = ("--classes", "1,0,2,x")
    found = command("score", tmp_path / "x.parquet", "--loss", "ce", *names)
    assert "is '3'; the classes are 1, 0, 2, x" in found.err
    label = np.where(label == 3, "x", label.astype(str))
    pq.write_table(pa.table(columns | {"target": label}), tmp_path / "x.parquet")
    check(command("score", tmp_path / "x.parquet", *ARGUMENTS, *names, "--json").json, few)


def test_a_pattern_may_match_one_column_of_lists(command, tmp_path, few):
    columns = {"logits_3": lists(few.logits), "target": few.label}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    found = command("score", tmp_path / "x.parquet", *ARGUMENTS, "-p", "logits_*", "--json").json
    check(found, few)


def test_numbers_of_columns_name_no_classes(command, tmp_path, few):
    np.save(tmp_path / "x.npy", np.column_stack([few.label, few.logits]).astype(np.float32))
    names = ("-p", "*", "-t", "0", "--json")
    check(command("score", tmp_path / "x.npy", *ARGUMENTS, *names).json, few)


def test_negative_labels_are_ignored_under_any_names(command, tmp_path, few):
    label = few.label + 5
    label[3] = -1
    np.savez(tmp_path / "x.npz", prediction=few.logits, target=label)
    arguments = ("--loss", "ce:ignore_index=-1", "--classes", "5,6,7,8")
    shown = command("score", tmp_path / "x.npz", *arguments)
    assert "1 row ignored, by the label" in shown.out
    found = command("score", tmp_path / "x.npz", *arguments, "--json").json
    expected = nl.CrossEntropy(ignore_index=-1)(few.logits, np.where(label == -1, -1, few.label))
    assert found["losses"][0]["value"] == pytest.approx(expected, rel=1e-6)


def test_a_pattern_leaves_out_what_other_options_name(command, tmp_path, few):
    pq.write_table(pa.table(few.columns()), tmp_path / "x.parquet")
    names = ("-p", "*", "-t", "label", "-w", "weight", "--json")
    check(
        command("score", tmp_path / "x.parquet", *ARGUMENTS, *names).json,
        few,
        sample_weight=few.weight,
    )


def test_rows_with_nan_and_missing_labels_are_skipped(command, tmp_path, few):
    rows = [row.tolist() for row in few.logits]
    rows[7], rows[9][2] = None, None
    label = few.label.tolist()
    label[11] = None
    table = pa.table({"prediction": pa.array(rows, pa.list_(pa.float32())), "target": label})
    pq.write_table(table, tmp_path / "x.parquet")
    out = tmp_path / "o.npy"
    arguments = ("--loss", "ce", "--skip-nan", "--gradient", "-o", out, "--json")
    found = command("score", tmp_path / "x.parquet", *arguments).json
    assert (found["rows"], found["rows_skipped"]) == (47, 3)
    kept = np.delete(np.arange(50), [7, 9, 11])
    expected = nl.CrossEntropy()(few.logits[kept], few.label[kept])
    assert found["losses"][0]["value"] == pytest.approx(expected, rel=1e-6)
    assert np.flatnonzero(np.isnan(np.load(out)).all(axis=1)).tolist() == [7, 9, 11]


def test_nan_in_a_row_makes_its_value_so(command, tmp_path, few):
    few.logits[[8, 30], 1] = np.nan
    path, names = write_columns(tmp_path, few)
    (one,) = command("score", path, "--loss", "ce", *names, "--json").json["losses"]
    assert (one["value"], one["not_finite"], one["first_not_finite_row"]) == ("nan", 2, 8)


KINDS = ("--per-sample", "--gradient", "--hessian")


def results(given):
    return nl.CrossEntropy().value_grad_hess(
        given.logits, given.label, sample_weight=given.weight, reduction="none"
    )


def test_parquet_has_a_column_a_class(command, tmp_path, many):
    pq.write_table(pa.table(many.columns(NAMES)), tmp_path / "x.parquet")
    out = tmp_path / "o.parquet"
    arguments = ("--loss", "ce", *COLUMNS, "-w", "weight", *KINDS, "-o", out)
    assert command("score", tmp_path / "x.parquet", *arguments).code == 0
    table = pq.read_table(out)
    value, gradient, hessian = results(many)
    np.testing.assert_array_equal(table["cross_entropy_value"].to_numpy(), value)
    assert table.column_names[1:] == [
        f"cross_entropy_{kind}_{name}" for kind in ("gradient", "hessian") for name in NAMES
    ]
    for j, name in enumerate(NAMES):
        assert table[f"cross_entropy_gradient_{name}"].type == pa.float32()
        for kind, expected in (("gradient", gradient), ("hessian", hessian)):
            found = table[f"cross_entropy_{kind}_{name}"].to_numpy()
            np.testing.assert_array_equal(found, expected[:, j])


def test_npy_has_a_dimension_more(command, tmp_path, many):
    path, names = write_columns(tmp_path, many)
    out = tmp_path / "o.npy"
    arguments = ("score", path, "--loss", "ce", *names, "-w", "weight", "-o", out)
    value, gradient, hessian = results(many)
    assert command(*arguments, "--gradient").code == 0
    np.testing.assert_array_equal(np.load(out), gradient)
    assert command(*arguments, *KINDS).code == 0
    found = np.load(out)
    assert found.shape == value.shape
    np.testing.assert_array_equal(found["cross_entropy_value"], value)
    np.testing.assert_array_equal(found["cross_entropy_gradient"], gradient)
    np.testing.assert_array_equal(found["cross_entropy_hessian"], hessian)


def test_rows_of_many_classes_come_in_smaller_batches(command, tmp_path):
    random = np.random.default_rng(1)
    logits = random.standard_normal((700, 3000), np.float32)
    label = random.integers(0, 3000, 700)
    np.savez(tmp_path / "x.npz", prediction=logits, target=label)
    found = command("score", tmp_path / "x.npz", "--loss", "ce", "--json").json
    assert found["losses"][0]["value"] == pytest.approx(nl.CrossEntropy()(logits, label), rel=1e-6)


def test_table_fits_into_eighty_columns(command, tmp_path, few):
    path, names = write_columns(tmp_path, few)
    shown = command("score", path, "--loss", "ce:class_weight=1/2/0.5/3", "--loss", "js", *names)
    lines = shown.out.splitlines()
    assert max(len(line) for line in lines[:6]) <= 80
    assert f"50 rows, 4 classes, of {path}" in " ".join(shown.out.split())
