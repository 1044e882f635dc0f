"""Parts of a pass that other processes do: they are told files and options, and read themselves."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from .failures import Failure, UsageFailure, first_line
from .layout import Layout
from .metrics import Totals
from .metrics import choose as choose_metrics
from .scoring import Options, Outcome, outcomes_of
from .specification import Chosen, choose
from .tables import Table, open_sources, piece_of, pieces
from .tables.sources import Sources
from .tables.text import TextOptions

# Results that wait for those of pieces before them, a process.
_AHEAD = 4


class Job(NamedTuple):
    """All that a process has to know; what it is told of losses and metrics are their texts."""

    sources: Sources
    text: TextOptions
    losses: tuple[str, ...]
    metrics: tuple[str, ...]
    layout: Layout
    options: Options
    by: str | None = None
    compare: bool = False
    bins: int | None = None


class _Opened(NamedTuple):
    table: Table
    chosen: list[Chosen]
    totals: Totals


# The last job that this process was given, by what there is to know of it.
_last: dict[str, _Opened] = {}


def _open(job: Job) -> _Opened:
    key = repr(job)
    if key not in _last:
        found = _opened(job)
        _last.clear()
        _last[key] = found
        return found
    return _last[key]


def _opened(job: Job) -> _Opened:
    chosen = choose(list(job.losses)) if job.losses else []
    totals = totals_of(job, chosen)
    return _Opened(open_sources(job.sources, job.text), chosen, totals)


def totals_of(job: Job, chosen: list[Chosen]) -> Totals:
    """What metrics there are, without rows."""
    return Totals(
        choose_metrics(list(job.metrics)), chosen, job.options.reduction, job.by, job.compare,
        job.bins, job.layout.whole,
    )  # fmt: skip


def run(job: Job, piece: int) -> Outcome:
    """Score one piece of the table."""
    table, chosen, totals = _open(job)
    whole = totals.fresh()
    batches = []
    rows, done = piece_of(table, job.layout.read, piece), (piece + 1) / pieces(table)
    with closing(outcomes_of(rows, job.layout, chosen, job.options, totals)) as found:
        for part in found:
            whole.merge(part.totals)
            for batch, sums in part.batches:
                head = batch._replace(arrays=(), keys=None, other=None, done=done)
                batches.append((head, sums._replace(columns=[])))
    return Outcome(batches, whole)


def _serve(connection: Connection, job: Job) -> None:
    """A process of its own: takes numbers of pieces, hands back their outcomes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it sees to that
    try:
        import pyarrow

        pyarrow.set_cpu_count(job.options.threads)
    except ImportError:  # NumPy's formats need none
        pass
    while True:
        try:
            piece = connection.recv()
        except EOFError:
            return
        found: Any
        try:
            found = run(job, piece)
        except Failure as failure:
            found = failure
        except Exception as error:
            found = Failure(f"{type(error).__name__}: {first_line(error)}")
        connection.send((piece, found))


def in_processes(job: Job, count: int, processes: int) -> Generator[Outcome, None, None]:
    """The outcomes of all pieces in their order, by processes that share nothing but files."""
    context = get_context("spawn")
    staff: dict[Any, Any] = {}
    try:
        for _ in range(min(processes, count)):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, job), daemon=True)
            process.start()
            theirs.close()
            staff[mine] = process
        yield from _in_order(staff, count)
    finally:
        for connection, process in staff.items():
            connection.close()
            process.terminate()
        for process in staff.values():
            process.join()


def _in_order(staff: dict[Any, Any], count: int) -> Generator[Outcome, None, None]:
    connection: Any
    idle: list[Any] = list(staff)
    busy: set[Any] = set()
    done: dict[int, Any] = {}
    given = taken = 0
    while taken < count:
        while idle and given < count and given - taken < _AHEAD * len(staff):
            connection = idle.pop()
            connection.send(given)
            busy.add(connection)
            given += 1
        for ready in wait(list(busy)):
            connection = ready
            try:
                piece, found = connection.recv()
            except (EOFError, OSError):
                process = staff[connection]
                process.join(5)
                raise Failure(
                    f"a worker process has ended with code {process.exitcode} (-9: there was too "
                    f"little memory, or somebody killed it)"
                ) from None
            busy.discard(connection)
            idle.append(connection)
            done[piece] = found
        while taken in done:
            found = done.pop(taken)
            # The first piece of the table that is bad is told, as one process would.
            if isinstance(found, Failure):
                raise found
            yield found
            taken += 1


def on_dask(job: Job, count: int, address: str) -> Generator[Outcome, None, None]:
    """The outcomes of all pieces in their order, by the workers of a cluster of Dask."""
    try:
        from distributed import Client
    except ImportError:
        raise UsageFailure('--dask needs Dask: python -m pip install "numbaloss[dask]"') from None
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise Failure(f"no scheduler of Dask at {address}: {first_line(error)}") from None
    with client:
        # A worker that dies takes nothing along: its pieces are done by another.
        waiting = client.map(_on_worker, [job] * count, range(count), pure=False, retries=2)
        for future in waiting:
            found = future.result()
            if isinstance(found, Failure):
                raise found
            yield found
            future.release()


def _on_worker(job: Job, piece: int) -> Outcome | Failure:
    try:
        return run(job, piece)
    except Failure as failure:
        return failure
