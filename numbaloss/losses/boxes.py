"""Losses of boxes: overlap of a predicted box with the true one."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..registry import register
from ..rewriting.marks import stop_gradient
from ..structures.multi_output import MultiOutput

# What the first corner takes of the size, and the second of the first number and of the size.
_FORMS = {"xyxy": (0.0, 0.0, 1.0), "xywh": (0.0, 1.0, 1.0), "cxcywh": (0.5, 1.0, 0.5)}
_NUMBERS = ("x1", "y1", "x2", "y2")
_TRUE = tuple(f"true_{name}" for name in _NUMBERS)
_HALF_PI, _OF_ASPECTS = 0.5 * math.pi, 4.0 / (math.pi * math.pi)


def _share(part, whole):
    """part / whole, and 0 of nothing."""
    return part / whole if whole > 0.0 else 0.0


def _side(low, high):
    """The length of a side; 0 of one that is inverted."""
    return max(high - low, 0.0)


def _corners(form, x1, y1, x2, y2):
    """Two corners of a box, from the numbers that it is given by."""
    before, start, size = form
    return x1 - before * x2, y1 - before * y2, start * x1 + size * x2, start * y1 + size * y2


def _overlap(box, true):
    """Areas of the intersection and of the union of two boxes."""
    (a, b, c, d), (e, f, g, h) = box, true
    common = _side(max(a, e), min(c, g)) * _side(max(b, f), min(d, h))
    return common, _side(a, c) * _side(b, d) + _side(e, g) * _side(f, h) - common


def _iou(box, true):
    common, union = _overlap(box, true)
    return 1.0 - _share(common, union)


def _giou(box, true):
    (a, b, c, d), (e, f, g, h) = box, true
    common, union = _overlap(box, true)
    hull = _side(min(a, e), max(c, g)) * _side(min(b, f), max(d, h))
    return 1.0 - _share(common, union) + _share(hull - union, hull)


def _distance(box, true):
    """The squared distance of the centres over that of the corners of the hull."""
    (a, b, c, d), (e, f, g, h) = box, true
    across, along = (a + c) - (e + g), (b + d) - (f + h)
    width, height = max(c, g) - min(a, e), max(d, h) - min(b, f)
    return _share(0.25 * (across * across + along * along), width * width + height * height)


def _diou(box, true):
    return _iou(box, true) + _distance(box, true)


def _aspect(box):
    """The angle of a diagonal, of a box that has one."""
    a, b, c, d = box
    width, height = _side(a, c), _side(b, d)
    if height > 0.0:
        return math.atan(width / height)
    return _HALF_PI if width > 0.0 else 0.0


def _ciou(box, true):
    iou, turned = _iou(box, true), _aspect(true) - _aspect(box)
    v = _OF_ASPECTS * turned * turned
    alpha = stop_gradient(_share(v, iou + v))
    return iou + _distance(box, true) + alpha * v


class _Boxes(MultiOutput):
    """Boxes by two corners, made of what they are given by."""

    outputs = _NUMBERS
    targets = _TRUE
    before: float = 0.0
    start: float = 0.0
    size: float = 1.0


class _IoU(_Boxes):
    def value(self, x1, y1, x2, y2, true_x1, true_y1, true_x2, true_y2):
        form = self.before, self.start, self.size
        true = _corners(form, true_x1, true_y1, true_x2, true_y2)
        return _iou(_corners(form, x1, y1, x2, y2), true)


class _GIoU(_Boxes):
    def value(self, x1, y1, x2, y2, true_x1, true_y1, true_x2, true_y2):
        form = self.before, self.start, self.size
        true = _corners(form, true_x1, true_y1, true_x2, true_y2)
        return _giou(_corners(form, x1, y1, x2, y2), true)


class _DIoU(_Boxes):
    def value(self, x1, y1, x2, y2, true_x1, true_y1, true_x2, true_y2):
        form = self.before, self.start, self.size
        true = _corners(form, true_x1, true_y1, true_x2, true_y2)
        return _diou(_corners(form, x1, y1, x2, y2), true)


class _CIoU(_Boxes):
    def value(self, x1, y1, x2, y2, true_x1, true_y1, true_x2, true_y2):
        form = self.before, self.start, self.size
        true = _corners(form, true_x1, true_y1, true_x2, true_y2)
        return _ciou(_corners(form, x1, y1, x2, y2), true)


class BoxLoss(MultiOutput):
    """What losses of boxes share: the form in which they are given."""

    outputs = _NUMBERS
    targets = _TRUE
    form: str = "xyxy"
    _of_corners: ClassVar[Any] = None

    def validate(self) -> None:
        if self.form not in _FORMS:
            forms = ", ".join(map(repr, _FORMS))
            raise ValueError(
                f"{type(self).__name__}: form must be one of {forms}, not {self.form!r}"
            )

    def lower(self) -> MultiOutput:
        return self._of_corners(*_FORMS[self.form])  # type: ignore[no-any-return]


@register
class IoU(BoxLoss):
    r"""One less the intersection over the union of two boxes.

    .. math:: \ell = 1 - \frac{|A \cap B|}{|A \cup B|}

    Parameters
    ----------
    form : {"xyxy", "xywh", "cxcywh"}
        What the four numbers of a box are: two corners; a corner, width and height; the centre,
        width and height.

    Notes
    -----
    Boxes that do not meet have a value of 1 and no gradient: see :class:`GIoU`. Sides that are
    inverted have length 0; two boxes without area have a value of 1. Never NaN for finite boxes.

    References
    ----------
    J. Yu et al., *UnitBox: an advanced object detection network*, 2016.
    """

    aliases = ("iou_loss",)
    _of_corners = _IoU


@register
class GIoU(BoxLoss):
    r"""Generalised intersection over union: boxes that do not meet have a gradient too.

    .. math:: \ell = 1 - \frac{|A \cap B|}{|A \cup B|} + \frac{|C| - |A \cup B|}{|C|}

    C is the smallest box that holds both.

    Parameters
    ----------
    form : {"xyxy", "xywh", "cxcywh"}
        See :class:`IoU`.

    References
    ----------
    H. Rezatofighi et al., *Generalized intersection over union*, 2019.
    """

    aliases = ("giou_loss", "generalized_iou")
    _of_corners = _GIoU


@register
class DIoU(BoxLoss):
    r"""Intersection over union, and the distance of the centres.

    .. math:: \ell = 1 - \frac{|A \cap B|}{|A \cup B|} + \frac{d^2}{c^2}

    d is the distance of the centres, c the diagonal of the smallest box that holds both.

    Parameters
    ----------
    form : {"xyxy", "xywh", "cxcywh"}
        See :class:`IoU`.

    References
    ----------
    Z. Zheng et al., *Distance-IoU loss*, 2020.
    """

    aliases = ("diou_loss", "distance_iou")
    _of_corners = _DIoU


@register
class CIoU(BoxLoss):
    r"""Intersection over union, the distance of the centres, and a difference of aspects.

    .. math::
        \ell = 1 - \frac{|A \cap B|}{|A \cup B|} + \frac{d^2}{c^2} + \alpha v, \quad
        v = \frac{4}{\pi^2} \Bigl(\arctan \frac{w}{h} - \arctan \frac{w'}{h'}\Bigr)^2, \quad
        \alpha = \frac{v}{1 - \mathrm{IoU} + v}

    α is a constant to the gradient, as in the paper.

    Parameters
    ----------
    form : {"xyxy", "xywh", "cxcywh"}
        See :class:`IoU`.

    References
    ----------
    Z. Zheng et al., *Distance-IoU loss*, 2020.
    """

    aliases = ("ciou_loss", "complete_iou")
    _of_corners = _CIoU
