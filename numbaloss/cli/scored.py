"""``numbaloss score``: from its options to what it prints and writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from . import figures, jobs, labelled, layout, metrics, report, results, scoring, specification
from .failures import UsageFailure
from .progress import shown
from .tables import Table, open_sources, pieces
from .tables.sources import FORMATS, Source, Sources, find, standard_input
from .tables.text import text_options


class Given(NamedTuple):
    """The options of the command, as they were given."""

    files: list[str]
    loss: list[str]
    metric: list[str]
    prediction: tuple[str, ...]
    target: tuple[str, ...]
    classes: str | None
    weight: str | None
    by: str | None
    compare: tuple[str, ...]
    bins: int | None
    reduction: str
    skip_nan: bool
    no_check: bool
    kinds: tuple[str, ...]  # what every row gets
    output: Path | None
    results: Path | None
    as_json: bool
    threads: int | None
    workers: int
    dask: str | None
    device: str
    file_format: str | None
    text: tuple[str | None, str | None, str | None]


def run(given: Given) -> None:
    """Score, print, write."""
    _check(given)
    chosen_metrics = metrics.choose(given.metric)
    text = text_options(*given.text)
    with _sources(given) as sources:
        table = open_sources(sources, text)
        chosen = specification.choose(given.loss) if given.loss else []
        arranged = _arranged(given, table, chosen)
        kinds: tuple[str, ...] = ()
        if given.output is not None:
            results.check_output(given.output, sources)
            kinds = given.kinds or ("value",)
        if given.results is not None:
            results.check_output(given.results, sources, "--results", figures.ENDINGS)
        settings = scoring.Options(
            given.reduction, not given.no_check, given.skip_nan, kinds, _threads(given),
            given.device,
        )  # fmt: skip
        job = jobs.Job(
            sources, text, tuple(given.loss), tuple(one.text for one in chosen_metrics), arranged,
            settings, given.by, bool(given.compare), given.bins,
        )  # fmt: skip
        scores = _scored(given, job, table, chosen)
    title = Path("standard input") if given.files == ["-"] else sources.title
    names = _names(given)
    if given.results is not None:
        figures.write(given.results, title, scores, settings, given.by, names)
    if given.as_json:
        report.print_json(report.scores_as_json(title, scores, settings, given.output, names))
    else:
        report.print_scores(title, scores, settings, given.output, names)


def _check(given: Given) -> None:
    """Raise for options that do not go together, before anything is read."""
    if given.output is None and given.kinds:
        raise UsageFailure("--per-sample, --gradient and --hessian need an --output")
    if given.output is not None and not given.loss:
        raise UsageFailure("--output takes results of losses: give --loss")
    for option, on in (("--by", given.by is not None), ("--compare", bool(given.compare))):
        if on and given.no_check:
            raise UsageFailure(f"{option} tests numbers: it does not go with --no-check")
    if given.by is not None and given.compare:
        raise UsageFailure("--compare compares all rows: it does not go with --by")
    if given.compare and given.reduction != "mean":
        raise UsageFailure(
            f"--compare compares means: it does not go with --reduction {given.reduction}"
        )
    if not given.loss and not given.metric and given.bins is None:
        raise UsageFailure("nothing to compute: give --loss, --metric or --bins")
    elsewhere = "--workers" if given.workers > 1 else "--dask" if given.dask else None
    if elsewhere and given.output is not None:
        raise UsageFailure(f"{elsewhere} does not go with --output, the results of rows")
    if elsewhere and given.device != "cpu":
        raise UsageFailure(f"{elsewhere} computes on processors: it does not go with --device cuda")
    if given.workers > 1 and given.dask:
        raise UsageFailure("--workers are processes here, --dask has its own: give one of them")
    if given.dask and "-" in given.files:
        raise UsageFailure("--dask: workers elsewhere do not see standard input")
    if "-" in given.files and len(given.files) > 1:
        raise UsageFailure("- stands alone: standard input is one table")
    if given.device == "cuda":
        from ..cuda import availability

        problem = availability.problem()
        if problem is not None:
            raise UsageFailure(f"--device cuda: {problem}; see `numbaloss devices`")


@contextmanager
def _sources(given: Given) -> Iterator[Sources]:
    if given.files != ["-"]:
        found = find(given.files, given.file_format)
        if given.dask:
            # Workers have other folders that they are in.
            files = [one._replace(path=one.path.absolute()) for one in found.files]
            found = found._replace(files=files)
        yield found
        return
    with standard_input(given.file_format) as path:
        kind = given.file_format or FORMATS[path.suffixes[0]]
        yield Sources(path, [Source(path, {}, kind)])


def _arranged(given: Given, table: Table, chosen: list[specification.Chosen]) -> layout.Layout:
    classes = specification.class_names(given.classes)

    def by_losses(
        losses: list[specification.Chosen], names: tuple[str, ...] | None
    ) -> layout.Layout:
        return layout.arrange(
            table, losses, given.prediction, given.target, given.weight, names, given.by,
            given.compare,
        )  # fmt: skip

    if chosen:
        return by_losses(chosen, classes)
    wanted = {"prediction": given.prediction, "target": given.target}
    wanted |= {"weight": (given.weight,)} if given.weight is not None else {}
    wanted |= {"by": (given.by,)} if given.by is not None else {}
    wanted |= {"compare": given.compare} if given.compare else {}
    return labelled.arrange(by_losses, table, wanted, classes)


def _threads(given: Given) -> int:
    """The number of threads for the losses, of each process; Arrow's decoder gets as many."""
    from .workers import default_threads

    if given.dask:
        return 1  # the cluster's own threads are how many tasks a worker does
    if given.threads is None:
        return max(1, default_threads() // given.workers)
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.set_cpu_count(given.threads)
    return given.threads


def _scored(
    given: Given, job: jobs.Job, table: Table, chosen: list[specification.Chosen]
) -> scoring.Scores:
    """The scores of all rows, computed here, by processes or by a cluster."""
    arranged, settings = job.layout, job.options
    totals = jobs.totals_of(job, chosen)
    fields = [
        results.Field(f"{one.name}_{kind}", arranged.classes or None if kind != "value" else None)
        for one in chosen
        for kind in settings.kinds
    ]
    count = pieces(table)
    with (
        results.open_results(given.output, fields, arranged.real) as sink,
        shown(f"Scoring {job.sources.title.name}") as progress,
    ):
        # Once here, for processes to find it on disk.
        seconds = 0.0 if given.dask else scoring.prepare(chosen, settings, arranged, totals)
        if given.dask:
            outcomes = jobs.on_dask(job, count, given.dask)
        elif given.workers > 1:
            outcomes = jobs.in_processes(job, count, given.workers)
        else:
            outcomes = scoring.outcomes_of(
                table.batches(arranged.read), arranged, chosen, settings, totals
            )
        scores = scoring.score(
            outcomes, arranged, chosen, settings, totals, job.sources.title, sink, progress
        )
    return scores._replace(compile_seconds=seconds)


def _names(given: Given) -> tuple[str, str]:
    """What two predictions are called."""
    return ",".join(given.prediction), ",".join(given.compare)
