"""A GPU of one multiprocessor, in Python: it runs the PTX of a kernel as PTX is defined.

Numba's simulator runs the Python code of kernels; this runs what they are compiled to, with the
loads and stores of vectors, the shuffles and the barriers that only GPUs get. Numbers are rounded
as on a GPU, integers wrap round. What a GPU leaves undefined, or may do wrong without a word, is
an error here: memory that is not an array's, an address that is not aligned, a shuffle without all
lanes of its warp, a barrier that some threads pass by, and two threads of a block at the same
memory with no barrier in between.

Each basic block becomes a function of Python, once it is reached. Registers of floats hold floats
of Python, all others integers without a sign; those never written to hold None.
"""

from .memory import Memory
from .program import Program

__all__ = ["Memory", "Program"]
