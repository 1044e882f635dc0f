"""Clipping of gradients, in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import Operand
from .base import ON_NONFINITE
from .leaves import seen
from .norms import factor_of, first_bad, global_norm, norms_of_pieces
from .passes import GRADIENT, PARAMETER, Table
from .plans import row_of, stream_of, table_of
from .trees import ROOT, named_leaves, pair


class _Leaves:
    """Gradients to be clipped: tables of those of one dtype in one place."""

    def __init__(self, tree: Any, units: Callable[[Operand], int] | None = None) -> None:
        named = named_leaves(tree)
        self.names = [name for name, _ in named]
        self.views = [seen(given, "gradient", name, written=True) for name, given in named]
        members: dict[Any, list[int]] = {}
        for place, view in enumerate(self.views):
            members.setdefault((view.kind, view.device), []).append(place)
        self.tables: list[tuple[Table, str]] = []
        self.places = list(members.values())
        for (kind, device), places in members.items():
            own = [self.views[place] for place in places]
            sizes = [one.array.size for one in own]
            table = table_of(device, sizes, units and [units(one) for one in own])
            for row, place in zip(table.rows, places):
                row[GRADIENT] = row_of(named[place][1], self.views[place])
            if device is not None:
                table.on_stream(*stream_of(named[places[0]][1]))
            self.tables.append((table, kind))
        self._kept = named

    def refuse(self, on_nonfinite: str) -> bool:
        """Whether gradients that are not finite are to be left alone; an error where they may not
        be."""
        if on_nonfinite == "propagate":
            return False
        place = first_bad(self.tables, self.places)
        if place is None:
            return False
        if on_nonfinite == "raise":
            raise FloatingPointError(
                f"the gradient of {self.names[place]} holds NaN or an infinity, and nothing was "
                f"changed; on_nonfinite='skip' leaves such gradients alone"
            )
        return True


def _checked(maximum: float, name: str, on_nonfinite: str) -> None:
    if not maximum > 0.0:
        raise ValueError(f"{name} must be positive, not {maximum}")
    if on_nonfinite not in ON_NONFINITE:
        raise ValueError(f"on_nonfinite must be one of {ON_NONFINITE}, not {on_nonfinite!r}")


def clip_by_global_norm(gradients: Any, maximum: float, *, on_nonfinite: str = "raise") -> float:
    r"""Scale gradients, in place, so that the norm of all together is at most ``maximum``.

    By :math:`\min(1, c / (\lVert g \rVert + 10^{-6}))`. They are read once, and written where they
    change. Squares are summed in float64, and neither overflow nor vanish; the norm has the same
    bits for any number of threads.

    Parameters
    ----------
    gradients : tree of arrays
    maximum : float > 0
        :math:`c`.
    on_nonfinite : {"raise", "skip", "propagate"}
        What becomes of gradients that hold NaN or an infinity: an error that names the leaf;
        nothing; what the formula makes of them.

    Returns
    -------
    float
        The norm before; it is not finite where gradients are not.

    References
    ----------
    R. Pascanu et al., *On the difficulty of training recurrent neural networks*, 2013;
    ``torch.nn.utils.clip_grad_norm_``.
    """
    _checked(maximum, "maximum", on_nonfinite)
    found = _Leaves(gradients)
    norm = global_norm(found.tables)
    if not math.isfinite(norm) and found.refuse(on_nonfinite):
        return norm
    factor = factor_of(norm, maximum)
    if not factor >= 1.0:
        for table, kind in found.tables:
            table.factors()[:] = factor
            table.clip(kind, -math.inf, math.inf)
    return norm


def clip_by_norm(gradients: Any, maximum: float, *, on_nonfinite: str = "raise") -> Any:
    """Scale each gradient, in place, so that its own norm is at most ``maximum``.

    Arguments and formula are those of :func:`clip_by_global_norm`.

    Returns
    -------
    dict of float
        The norms before, by the names of the leaves.
    """
    _checked(maximum, "maximum", on_nonfinite)
    found = {}
    named = named_leaves(gradients)
    if on_nonfinite == "raise":
        _Leaves(gradients).refuse(on_nonfinite)
    for name, given in named:
        one = given if name == ROOT else {name: given}
        found[name] = clip_by_global_norm(one, maximum, on_nonfinite=on_nonfinite)
    return found


def clip_by_value(gradients: Any, maximum: float) -> None:
    """Bring each number of gradients between ``-maximum`` and ``maximum``, in place; NaN stays.

    As ``torch.nn.utils.clip_grad_value_``.
    """
    _checked(maximum, "maximum", "raise")
    for table, kind in _Leaves(gradients).tables:
        table.factors()[:] = 1.0
        table.clip(kind, -maximum, maximum)


def _units(view: Operand) -> int:
    """Rows of a leaf along its first axis; a vector is one."""
    return view.array.shape[0] if view.array.ndim > 1 else 1


def clip_adaptive(
    gradients: Any,
    parameters: Any,
    clipping: float = 0.01,
    eps: float = 1e-3,
    *,
    on_nonfinite: str = "raise",
) -> None:
    r"""Adaptive clipping (AGC): no gradient of a unit is large beside the unit's weights.

    .. math::
        g_u \leftarrow g_u \min\left(1,
        \lambda \frac{\max(\lVert w_u \rVert, \epsilon)}{\lVert g_u \rVert}\right)

    A unit is what an index of the first axis leaves, ``weight[u]``; a vector or a number is one.

    Parameters
    ----------
    gradients, parameters : trees of arrays, of one form
        Gradients are changed in place.
    clipping : float > 0
        :math:`\lambda`.
    eps : float > 0
        :math:`\epsilon`: weights that begin at zero can leave it.
    on_nonfinite : {"raise", "skip", "propagate"}
        See :func:`clip_by_global_norm`.

    References
    ----------
    A. Brock et al., *High-performance large-scale image recognition without normalization*, 2021.
    """
    _checked(clipping, "clipping", on_nonfinite)
    _checked(eps, "eps", on_nonfinite)
    given: list[Any] = []
    others: list[Any] = []
    pair(gradients, parameters, given, others)
    found = _Leaves(gradients, _units)
    if found.refuse(on_nonfinite):
        return
    views = []
    for name, view, other in zip(found.names, found.views, others):
        beside = seen(other, "parameter", name, written=False)
        if beside.array.shape != view.array.shape or beside.kind != view.kind:
            raise ValueError(f"gradient and parameter {name} differ in shape or dtype")
        views.append(beside)
    for (table, kind), places in zip(found.tables, found.places):
        for row, place in zip(table.rows, places):
            row[PARAMETER] = row_of(others[place], views[place])
        allowed = clipping * np.maximum(norms_of_pieces(table, kind, PARAMETER), eps)
        norms = norms_of_pieces(table, kind, GRADIENT)
        # Where nothing is cut, whatever the norm, 0 too.
        table.factors()[:] = np.where(norms > allowed, allowed / np.maximum(norms, allowed), 1.0)
        table.clip(kind, -math.inf, math.inf)
