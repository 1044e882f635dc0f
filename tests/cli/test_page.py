"""`numbaloss list LOSS`: a loss in full; formulas in plain text."""

import unicodedata

import pytest

import numbaloss as nl
from numbaloss.cli.formula import plain
from numbaloss.cli.wrap import breakable, tight, wrapped


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"\tfrac12 r^2", "½ r²"),
        (r"\frac{1}{2\beta} r^2", "1/(2β) r²"),
        (r"\log \sigma(x)", "log σ(x)"),
        (r"\log\max(a, b)", "log max(a, b)"),
        (r"t\log p", "t log p"),
        (r"e^{-f}", "e^(-f)"),
        (r"\sum_j p_j^q", "Σ_j p_j^q"),
        (r"\sqrt{1 + (r/\delta)^2}", "√(1 + (r/δ)²)"),
        (r"\left( \Bigl(x\Bigr)^{\alpha/2} \right)", "( (x)^(α/2) )"),
        (r"a, \quad b = \mathrm{softmax}(x)", "a,   b = softmax(x)"),
        (r"\begin{cases} a & b \le 1 \\ c & b > 1 \end{cases}", "a if b ≤ 1; c if b > 1"),
        (r"\lVert a \rVert_p", "‖ a ‖_p"),
        (r"\hat z_i", "ẑ_i"),
        (r"x^", "x^()"),
        (r"{a}}b", "ab"),
        (r"\frac", "()/()"),
        (r"\unknown{x}", "unknownx"),
    ],
)
def test_formulas_in_plain_text(tex, text):
    assert unicodedata.normalize("NFC", plain(tex)) == unicodedata.normalize("NFC", text)


def test_every_loss_has_a_page_of_eighty_columns(command):
    shown = command("list", *nl.losses())
    assert shown.code == 0
    assert "\\" not in shown.out.replace("\\n", "")
    assert ":math:" not in shown.out
    pages = shown.out
    for one in command("list", *nl.losses(), "--json").json:
        assert one["formulas"]
        for formula in one["formulas"]:
            assert not set("\\{}") & set(formula)
        for name in (one["name"], *one["aliases"], *(p["name"] for p in one["parameters"])):
            assert name in pages
    prose = [line for line in pages.splitlines() if not line.lstrip().startswith((">>>", "..."))]
    assert max(map(len, prose)) <= 80


def test_the_page_of_one_loss(command):
    shown = command("list", "HUBER").out
    for text in (
        "ℓ = ½ r² if |r| ≤ δ; δ (|r| - ½ δ) if |r| > δ",
        "delta = 1.0   float > 0",
        "Where the parabola ends",
        "targets: any numbers",
        "P. J. Huber, Robust estimation of a location parameter, 1964.",
        "numbaloss score FILE --loss huber:delta=1.0",
    ):
        assert text in shown
    assert command("list", "bce").out.startswith("binary_cross_entropy")
    assert "targets: in [0, 1]" in command("list", "bce").out
    found = command("list", "hubr")
    assert (found.code, "did you mean 'huber'" in found.err) == (2, True)


def test_lines_end_between_words_alone():
    text = f"{tight('1,234 rows')} of {tight('my folder/x.csv')} in {tight('0.73 s')}"
    lines = wrapped(text, 12)
    assert lines == ["1,234 rows", "of", "my folder/x.csv", "in 0.73 s"]
    assert wrapped(text, 1000) == ["1,234 rows of my folder/x.csv in 0.73 s"]
    assert wrapped("", 10) == [""]
    loss = "huber:delta=1e+5+0.1*log_cosh + ce:class_weight=1/2,ignore_index=3"
    assert "".join(wrapped(breakable(loss), 1000)) == loss
    assert wrapped(breakable(loss), 20) == [
        "huber:delta=1e+5+",
        "0.1*log_cosh + ce:",
        "class_weight=1/2,",
        "ignore_index=3",
    ]


def test_tables_and_footers_break_no_name(command, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "a folder with a name" / "predictions of a long name.csv"
    path.parent.mkdir()
    path.write_text("prediction,target\n" + "1,2\n" * 1234)
    loss = "huber:delta=1.5+0.1*log_cosh"
    shown = command("score", path, "-l", loss, "-l", "mae", "-o", tmp_path / "o.npy").out
    assert str(path) in shown
    assert "1,234 rows" in shown
    lines = [line for line in shown.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    for name in ("huber:", "delta=1.5+", "0.1*log_cosh", "computed in"):
        assert name in shown
