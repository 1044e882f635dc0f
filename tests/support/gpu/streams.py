"""Streams of a GPU that are busy."""

CYCLES = 400_000_000  # of a GPU, some 0.2 s


def twice_on_a_stream(body, clear, stream, synchronize):
    """What ``body`` gives at its second run on a stream.

    The first compiles, loads all kernels, also those of the other library, and gets memory: the
    driver may wait for the GPU meanwhile.
    """
    with stream:
        body()
        clear()
    synchronize()
    with stream:
        return body()
