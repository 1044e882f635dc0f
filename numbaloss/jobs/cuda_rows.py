"""Rows of logits, or of probabilities, on a GPU: the arguments of a launch."""

from __future__ import annotations

from .record import Address, Bit, Bits, Choice, Column, Columns, Count, Flags, Real, Record

# What a launch over long rows does: `CudaRows.step`.
WHOLE_ROWS = 0  # everything
MEASURE = 1  # what pieces of rows come to, for another launch
EMIT = 2  # from what they came to, the rest


class CudaRows(Record):
    """The arrays, where their rows lie, and which threads take one. Strides are in elements."""

    rows: Count
    classes: Count
    prediction: Address
    target: Address  # labels, or an array of the prediction's shape
    weight: Address  # a number a row; 0: none
    mask: Address  # which rows count; 0: all
    value: Address  # a number a row; 0: values are summed alone
    gradient: Address  # 0: none
    hessian: Address  # 0: none
    class_weight: Address  # in the compute type, of the scan in float64; 0: none
    target_code: Choice  # dtypes: see `cuda.dtypes.CODES`
    weight_code: Choice
    layout: Address  # of rows along several axes: their number, then a :class:`RowAxis` each
    prediction_row_stride: Count  # from row to row
    target_row_stride: Count
    weight_row_stride: Count
    mask_row_stride: Count
    value_row_stride: Count
    gradient_row_stride: Count
    hessian_row_stride: Count
    prediction_class_stride: Count  # and from class to class
    target_class_stride: Count
    gradient_class_stride: Count
    hessian_class_stride: Count
    row_threads: Count  # that share a row, a power of two
    row_threads_log2: Count
    flags: Bits  # of :class:`RowFlags`
    ignored_label: Count  # of rows that do not count
    step: Choice  # of rows that blocks share: WHOLE_ROWS, MEASURE or EMIT
    piece_classes: Count  # of a piece of a row
    pieces: Count  # of a row
    piece_results: Address  # a :class:`.rows.LabelPiece` a piece, in the compute type


class RowFlags(Flags):
    """What is asked of the rows of a launch."""

    smooth: Bit  # labels are smoothed
    labelled: Bit  # targets are labels
    margin: Bit  # logits are taken less that of the label
    dense_logits: Bit  # targets are logits too
    check_target: Bit  # dense ones have a domain
    count_errors: Bit  # weights and labels out of range are counted; else a launch before did it
    vectors_in: Bit  # logits are read 16 bytes at a time
    vectors_out: Bit  # gradients are written so
    weighted: Bit  # of the scan: rows count by their weights
    ignores: Bit  # rows of one label do not count
    any_weight: Bit  # weights need not be 0 or more
    plain: Bit  # rows are taken as they are
    check_prediction: Bit


class RowNumbers(Record):
    """The numbers of a launch, in the compute type."""

    inverse_temperature: Real
    on: Real  # 1 - ε: the share of the label
    off: Real  # ε / C: that of every class
    class_weight_sum: Real
    scale: Real  # of the gradient
    low: Real  # closed domain of dense targets
    high: Real
    near_low: Real  # what passes for its bounds since it was rounded
    near_high: Real
    share: Real  # 1, or 1 / C where values are means over the classes
    lowest: Real  # closed domain of predictions
    highest: Real
    near_lowest: Real
    near_highest: Real
    power_high: Real  # what distances are multiplied by, in two numbers: see `cuda.powers`
    power_low: Real


class RowAxis(Columns):
    """An axis of rows: its length, and the strides of the arrays in elements."""

    length: Column
    prediction: Column
    target: Column
    weight: Column
    mask: Column
    value: Column
    gradient: Column
    hessian: Column
