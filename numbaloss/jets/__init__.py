"""Jets: numbers with their first and second derivative by the prediction.

A loss that gives its ``value`` alone is evaluated on them. In compiled code a jet is a type of
Numba's (:mod:`.compiled`), so that nothing is left of it in the kernel but arithmetic; in plain
Python it is :class:`.twin.Jet`. Both follow the rules of :mod:`.algebra`.
"""
