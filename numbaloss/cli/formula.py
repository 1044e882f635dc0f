"""Formulas of docstrings, in the notation of TeX, as a line of plain text."""

from __future__ import annotations

import re

# Between two formulas of a line.
APART = "\u2003"

SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε",
    "lambda": "λ", "mu": "μ", "pi": "π", "sigma": "σ", "tau": "τ", "ell": "ℓ", "sum": "Σ",
    "cdot": "·", "times": "×", "pm": "±", "le": "≤", "ge": "≥", "ne": "≠", "in": "∈", "to": "→",
    "infty": "∞", "lVert": "‖", "rVert": "‖", "|": "‖", "cap": "∩", "cup": "∪", "nu": "ν",
    "Gamma": "Γ", "Delta": "Δ", "lfloor": "⌊", "rfloor": "⌋",
    "quad": APART, "qquad": APART, ",": " ", " ": " ", ";": " ",
}  # fmt: skip
# What only makes brackets larger, or text upright.
SILENT = {"left", "right", *(size + side for size in ("big", "Big") for side in "lr"), "!"}
UPRIGHT = {"mathrm", "text", "operatorname"}
RAISED = str.maketrans("0123456789+-n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ")

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)


def plain(formula: str) -> str:
    """``\\tfrac12 r^2`` to ``½ r²``; commands that are not known keep their names."""
    formula = re.sub(r"\\begin\{cases\}(.*?)\\end\{cases\}", _cases, formula, flags=re.DOTALL)
    tokens = _TOKEN.findall(formula)[::-1]
    text = ""
    while tokens:  # a bracket too many ends a group
        text += _group(tokens)
    text = re.sub(r"[^\S\u2003]+", " ", text)
    return re.sub(rf" ?{APART} ?", "   ", text).strip(" ,")


def _cases(found: re.Match[str]) -> str:
    rows = [row.split("&") for row in re.split(r"\\\\", found[1]) if row.strip()]
    return "; ".join(r" \text{ if } ".join(piece.strip() for piece in row) for row in rows)


def _group(tokens: list[str]) -> str:
    """The text up to the bracket that closes a group, or to the end."""
    text = ""
    while tokens:
        token = tokens[-1]
        if token == "}":
            tokens.pop()
            break
        piece = _item(tokens)
        # Names of functions stand apart from what follows them, and from letters before.
        if text and piece and text[-1].isalpha() and piece[0].isalnum() and token[0] == "\\":
            text += " " if len(piece) > 1 or text[-2:].isalpha() else ""
        text += piece
        if token[0] == "\\" and piece.isalpha() and len(piece) > 1 and _follows(tokens):
            text += " "
    return text


def _follows(tokens: list[str]) -> bool:
    return bool(tokens) and (tokens[-1].isalnum() or tokens[-1][0] == "\\")


def _item(tokens: list[str]) -> str:
    """The text of the next thing: a letter, a command with its arguments, a group."""
    token = tokens.pop()
    if token == "{":
        return _group(tokens)
    if token in "^_":
        return _script(token, _argument(tokens))
    if token[0] != "\\":
        return " " if token.isspace() and "\n" not in token else token
    name = token[1:]
    if name in SILENT:
        return ""
    if name in UPRIGHT:
        return _argument(tokens)
    if name in ("frac", "tfrac"):
        top, bottom = _argument(tokens), _argument(tokens)
        if (top, bottom) == ("1", "2"):
            return "½"
        return f"{_whole(top)}/{_whole(bottom)}"
    if name == "sqrt":
        return f"√{_whole(_argument(tokens))}"
    if name == "hat":
        return f"{_argument(tokens)}\u0302"
    return SYMBOLS.get(name, name)


def _argument(tokens: list[str]) -> str:
    while tokens and tokens[-1].isspace():
        tokens.pop()
    return _item(tokens).strip("\n") if tokens else ""


def _script(mark: str, text: str) -> str:
    if mark == "^" and re.fullmatch("[-+]?[0-9n]|[-+]", text):
        return text.translate(RAISED)
    if len(text) == 1 or (mark == "_" and re.fullmatch(r"\w+", text)):
        return mark + text
    return f"{mark}({text})"


def _whole(text: str) -> str:
    """In brackets, unless it is one name or one number already, or has them."""
    bare = re.fullmatch(r"\d+|[^\W\d]\w*|[|‖(][^|‖()]*[|‖)]", text)
    return text if bare else f"({text})"
