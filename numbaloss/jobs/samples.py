"""Losses of several numbers a sample, on CPU threads: fields beside :class:`.call.Call`."""

from __future__ import annotations

from .call import ArrayLayouts
from .record import Code, Count, Word


class SampleDescription(ArrayLayouts):
    """How the arrays of a call lie, a row each of what belongs together.

    What the words refer to follows behind the fields. Of rows that lie behind one another the
    layout is that of all their numbers (0: used as they lie), and a transpose brings them into
    columns. Of others there are planes: of each column the address, and the position of its
    layout from the start of the description (0: its numbers lie behind one another).
    """

    outputs: Count
    targets: Count
    hessians: Count  # numbers of a sample's hessian; 0: none
    prediction_planes: Word  # 0: rows, as of the three below
    target_planes: Word
    gradient_planes: Word
    hessian_planes: Word
    prediction_transpose: Code
    target_transpose: Code
    gradient_transpose: Code
    hessian_transpose: Code
