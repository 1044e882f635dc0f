"""Losses of several numbers a sample: loops over tiles, and over the rows of a chunk."""
