"""Losses of rows on CPU threads: fields of a call beside :class:`.call.Call`, results of rows."""

from __future__ import annotations

from .call import ArrayLayouts
from .record import Address, Choice, Code, Column, Columns, Count, Flag, Real, Record, Word

# How a formula sees a row: `RowCall.reading`.
SOFTMAX = 0  # as the logarithms of its softmax
MARGIN = 1  # less the number of its label
PLAIN = 2  # as it is


class RowCall(ArrayLayouts):
    """A call on rows of logits, or of probabilities.

    The plan of a loss fills in what all its calls have in common; a call its layouts, scales and
    domains; the choice of loops their functions and memory. The layouts of columns
    are of rows whose classes lie farther apart than the rows do (`cpu.columns`); an array that has
    one has no other.
    """

    mask_layout: Word
    prediction_columns: Word
    target_columns: Word
    gradient_columns: Word
    hessian_columns: Word

    mask: Address  # of a mask of the rows that count; 0: none
    classes: Count
    derivatives: Count  # that are wanted: 0, 1 or 2
    map: Code  # of the loss: of the label's log-probability, or of all classes
    normalizer: Code  # of the loss: of the log of the sum of exponentials; 0: it is none of its
    class_weight: Address  # in the compute type, 64 numbers more than classes; 0: none
    ignores: Flag  # whether rows of one label do not count
    ignored_label: Count
    smooth: Flag  # whether labels are smoothed
    reading: Choice  # SOFTMAX, MARGIN or PLAIN
    labelled: Flag  # whether targets are labels
    dense_logits: Flag  # whether targets are logits too
    target_tested: Flag  # whether dense targets have limits
    prediction_tested: Flag  # whether predictions have

    describe: Code  # of weights and labels of a group of rows: `cpu.rows`
    finish: Code  # from the sums of a group of rows to what its gradient is made of
    to_columns: Code  # from rows to a tile: `cpu.tiles`
    to_rows: Code  # and back
    pieces: Address  # of what pieces of rows leave for other threads, row by row; 0: nothing
    row_numbers: Address  # of what is known of whole rows, for the same

    inverse_temperature: Real
    on: Real  # 1 - ε: the share of the label
    off: Real  # ε / C: that of every class
    class_weight_sum: Real
    scale: Real  # of the gradient
    hessian_scale: Real
    share: Real  # 1, or 1 / C where values are means over the classes
    low: Real  # closed domain of dense targets
    high: Real
    near_low: Real  # what passes for its bounds since it was rounded
    near_high: Real
    lowest: Real  # closed domain of predictions
    highest: Real
    near_lowest: Real
    near_highest: Real

    @property
    def has_layouts(self) -> bool:
        """Whether some array is not used as it lies."""
        return self.words.size > self.memory.words

    @property
    def in_columns(self) -> bool:
        """Whether some array has a layout of columns."""
        return self.has_layouts and any(
            (
                self.prediction_columns,
                self.target_columns,
                self.gradient_columns,
                self.hessian_columns,
            )
        )


class ScanCall(Record):
    """A pass over labels and weights before anything is computed: `cpu.scan`."""

    target_layout: Word
    weight_layout: Word
    mask_layout: Word
    mask: Address  # 0: none
    classes: Count
    labelled: Flag  # whether targets are labels
    ignores: Flag  # whether rows of one label do not count
    ignored_label: Count
    class_weight: Address  # in float64; 0: none
    weighted: Flag  # whether rows count by their weights
    weight_tested: Flag  # whether a negative weight, or NaN, is an error


class BlockCall(Record):
    """Blocks of wide rows whose classes lie far apart: `cpu.row_blocks`.

    A thread has memory of its own for a block of each array; the gradient may share the
    prediction's. Places are bytes from where that begins.
    """

    loop: Code  # over rows whose classes are together
    space: Address  # of the memory of all threads
    space_bytes: Count  # of a thread
    prediction_place: Count
    target_place: Count
    gradient_place: Count
    hessian_place: Count
    block: Count  # rows of a block, at the most
    span: Count  # after so many rows blocks start anew
    sum_rows: Count  # rows whose values make a sum
    sums: Address  # of those, `call.Sums` one behind the other


class RowStatistics(Columns):
    """Numbers of the rows of a group, in the compute type.

    With labels g is the loss's function of the label's log-probability l, R that of the log of the
    sum of exponentials; see `cpu.coefficients`.
    """

    # What the loops find.
    maximum: Column
    others: Column  # sum of exponentials without the label's
    distance: Column  # scaled logit of the label less the maximum
    own: Column  # exponential of that
    weighted_distance: Column  # Σ w_j of the scaled logit less the maximum, for label smoothing
    # Fields of a call.
    row_weight: Column
    label_weight: Column  # class weight of the label
    # What is made of those.
    log_sum: Column  # of exponentials of what is less the maximum
    log_probability: Column  # l
    value: Column  # g, then the value of the row without its weight; of all classes, Σ φ first
    slope: Column  # g'; of all classes, Σ φ' and then R' - Σ φ'
    second_derivative: Column  # g''; of all classes, Σ φ'' and then R'' + Σ φ''
    term: Column  # R
    term_slope: Column
    term_second_derivative: Column
    weighted_value: Column  # log of the sum of exponentials, then what the row is worth
    # What gradient and hessian are made of, scales and weights included.
    factor: Column  # of the exponentials, for the gradient
    shift: Column  # of the class weights, for the gradient
    at_label: Column  # the gradient there
    inverse: Column  # of the sum of exponentials
    hessian_square: Column  # the hessian is p (p square + linear)
    hessian_linear: Column
    hessian_at_label: Column


class LabelRow(Columns):
    """What the gradient of one row is made of, as in :class:`RowStatistics`."""

    maximum: Column
    factor: Column
    shift: Column
    at_label: Column
    inverse: Column
    hessian_square: Column
    hessian_linear: Column
    hessian_at_label: Column


class LabelPiece(Record):
    """What a piece of a long row leaves, where the label is all that counts."""

    maximum: Real
    others: Real  # sum of exponentials of what is less the maximum, without the label's
    weighted_distance: Real  # Σ w_j of the scaled logit less the maximum, for label smoothing
    weight_sum: Real  # Σ w_j
    label_logit: Real  # in the piece that has the label


class GeneralRow(Columns):
    """What is known of one row of any loss, in the compute type."""

    offset: Column  # what is taken from logits: the maximum, or the label's number
    log_sum: Column  # of exponentials of what is less the maximum
    teacher_maximum: Column
    teacher_inverse: Column  # of the sum of the exponentials of the teacher's logits
    slope_difference: Column  # R' - Σ φ'
    second_derivative: Column  # R'' + Σ φ''
    gradient_factor: Column
    hessian_factor: Column


class GeneralPiece(Record):
    """What a piece of a row of any loss leaves."""

    maximum: Real
    exponentials: Real  # their sum
    teacher_maximum: Real
    teacher_exponentials: Real
    label_number: Real  # in the piece that has the label, where the row is read as a margin
    value_sum: Real  # Σ φ
    slope_sum: Real
    second_derivative_sum: Real
