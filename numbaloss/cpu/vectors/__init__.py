"""Losses of two or three vectors that belong together, on CPU threads: a row after the other.

A row is read twice, the second time from the first-level cache: its total or its products
first, then, once the loss of them is computed, the gradients. Both run in float64 over
vectors of any type: with four arrays to move, memory leaves the time for it, lengths and
distances neither overflow nor cancel, and gradients are rounded once.
"""
