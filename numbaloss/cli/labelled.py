"""How metrics without losses take a table: as numbers, rows of numbers, or labels."""

from __future__ import annotations

from collections.abc import Callable

from .failures import Failure, UsageFailure
from .layout import Layout
from .selection import Selected, select
from .specification import Chosen
from .specification import choose as read_losses
from .tables import Form, Kind, Table

Arrange = Callable[[list[Chosen], tuple[str, ...] | None], Layout]


def arrange(
    by_losses: Arrange,
    table: Table,
    wanted: dict[str, tuple[str, ...]],
    classes: tuple[str, ...] | None,
) -> Layout:
    """Take a table as a loss of numbers, of two classes, or of rows would; or as labels.

    ``by_losses`` takes it as some losses do; ``wanted`` are the columns by option.
    """
    options = {one.option: one for one in select(table, wanted)}
    prediction, target = options["prediction"], options["target"]
    of_prediction, of_target = table.kinds(prediction.columns), table.kinds(target.columns)
    if not _single(prediction, of_prediction):
        return by_losses(read_losses(["ce"]), classes)
    p, t = of_prediction[0], of_target[0]
    if _single(target, of_target):
        if p.text is not None or (t.text is not None and p.whole):
            return _labels(options, p, t, classes)
        if p.whole and classes is not None:
            return by_losses(read_losses(["mse"]), None)  # labels that are numbers stay those
        if classes is not None or t.text is not None:
            return _named(by_losses, "bce", "bce takes", classes)
    return _named(by_losses, "mse", "mse takes", classes)


def _named(by_losses: Arrange, loss: str, says: str, classes: tuple[str, ...] | None) -> Layout:
    try:
        return by_losses(read_losses([loss]), classes)
    except Failure as error:
        said = str(error).replace(says, "metrics take").replace(f"{loss} has", "a number a row has")
        raise type(error)(said) from None


def _single(option: Selected, kinds: tuple[Kind, ...]) -> bool:
    return len(option.columns) == 1 and kinds[0].width is None


def _labels(
    options: dict[str, Selected], p: Kind, t: Kind, classes: tuple[str, ...] | None
) -> Layout:
    """Predicted labels: texts, or integers that are places among the classes."""
    names = [options[name].columns[0] for name in ("prediction", "target")]
    if classes is None and (p.text is None or t.text is None):
        text, number = names if p.text is not None else names[::-1]
        raise UsageFailure(
            f"column {text!r} holds text, {number!r} numbers; --classes a,b,c says which text is "
            f"0, 1, 2"
        )

    def form(name: str, kind: Kind) -> Form:
        if classes is None:
            return Form(name, "float64", key=True)
        return Form(name, "float64", classes=classes if kind.text is not None else None)

    forms = [form(names[0], p), form(names[1], t)]
    if "weight" in options:
        forms.append(Form(options["weight"].columns[0], "float64"))
    by = options["by"].columns[0] if "by" in options else None
    return Layout(
        tuple(forms),
        "float64",
        "weight" in options,
        by=None if by is None else Form(by, "float64", key=True),
        other=(form(options["compare"].columns[0], p),) if "compare" in options else (),
        whole=True,
    )
