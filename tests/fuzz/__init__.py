"""Random calls of every loss, on memory fenced by pages that nobody may touch.

``python -m tests.fuzz --calls 100000 --seed 1`` runs a campaign: see :mod:`tests.fuzz.__main__`.
Each call is a function of the seed and its number, so that a finding can be repeated alone. What
comes back is compared with formulas written a second time, in extended precision, within what
rounding excuses.
"""
