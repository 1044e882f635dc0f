"""The kernels for processors. Nothing here is imported before the first call that needs it."""

from ..numba_settings import check

check()
