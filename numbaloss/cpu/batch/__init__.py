"""Loops over the vectors of a batch, and over blocks of their similarities, on CPU threads.

Rows are cut into stretches of columns that are treated alike: a row's positives stand side by
side, so that no loop reads labels. Rows go to threads several at a time, columns in strips;
who does what does not change the results.
"""
