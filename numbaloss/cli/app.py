"""The commands and their options."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from ..numba_settings import SettingsError
from . import learning, options
from .failures import Failure, UsageFailure, harmless
from .help import DEVICES_HELP, LIST_HELP, MAIN_HELP, SCORE_HELP, WARMUP_HELP

app = typer.Typer(
    help=MAIN_HELP,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


class Precision(StrEnum):
    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


# The processor computes half precisions in float32.
_OF_CPU = [Precision.float32, Precision.float64]


def _show_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"numbaloss {__version__}")
        raise typer.Exit()


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command(name="list", help=LIST_HELP, short_help="All losses, or one in full.")
def list_losses(
    loss: Annotated[
        list[str] | None,
        typer.Argument(metavar="LOSS", help="A name or an alias.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    from . import listing, page, report

    classes = [page.find(name) for name in loss or []]
    losses = listing.described()
    if classes and as_json:
        report.print_json([page.described(cls) for cls in classes])
    elif classes:
        page.print_pages(classes)
    elif as_json:
        report.print_json(losses)
    else:
        listing.print_losses(losses)


@app.command(help=DEVICES_HELP, short_help="What losses can be computed on.")
def devices(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    from . import devices, report

    found = devices.described()
    if as_json:
        report.print_json(found)
    else:
        devices.print_devices(found)


@app.command(help=SCORE_HELP, short_help="Losses of a file of predictions.")
def score(
    file: options.File,
    loss: options.Losses = None,
    metric: options.Metrics = None,
    prediction: options.Prediction = None,
    target: options.Target = None,
    classes: options.Classes = None,
    weight: options.Weight = None,
    by: options.By = None,
    reduction: options.ReductionName = options.Reduction.mean,
    skip_nan: options.SkipNaN = False,
    no_check: options.NoCheck = False,
    per_sample: options.PerSample = False,
    gradient: options.Gradient = False,
    hessian: options.Hessian = False,
    output: options.Output = None,
    as_json: options.AsJSON = False,
    threads: options.Threads = None,
    device: options.DeviceName = options.Device.cpu,
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
) -> None:
    from . import layout, metrics, report, results, scoring, specification, tables
    from .tables.text import text_options

    if output is None and (per_sample or gradient or hessian):
        raise UsageFailure("--per-sample, --gradient and --hessian need an --output")
    if by is not None and no_check:
        raise UsageFailure("--by tests numbers: it does not go with --no-check")
    if output is not None and not loss:
        raise UsageFailure("--output takes results of losses: give --loss")
    if device is options.Device.cuda:
        _require_gpu()
    asked = metrics.choose(metric or [])
    if not loss and not asked:
        raise UsageFailure("nothing to compute: give --loss or --metric")
    table = tables.open_table(file, text_options(delimiter, decimal, encoding))

    def arrange(chosen: list[specification.Chosen]) -> layout.Layout:
        return layout.arrange(
            table,
            chosen,
            tuple(prediction or ("prediction",)),
            tuple(target or ("target",)),
            weight,
            specification.class_names(classes),
            by,
        )

    chosen = specification.choose(loss or [])
    arranged = arrange(chosen) if chosen else metrics.arrange(arrange)
    wanted = {"value": per_sample, "gradient": gradient, "hessian": hessian}
    kinds: tuple[str, ...] = ()
    if output is not None:
        results.check_output(output, file)
        kinds = tuple(kind for kind, on in wanted.items() if on) or ("value",)
    settings = scoring.Options(
        reduction.value, not no_check, skip_nan, kinds, _use_threads(threads), device.value
    )
    fields = [
        results.Field(f"{one.name}_{kind}", arranged.classes or None if kind != "value" else None)
        for one in chosen
        for kind in kinds
    ]
    with (
        results.open_results(output, fields, arranged.real) as sink,
        _progress(f"Scoring {file.name}") as progress,
    ):
        totals = metrics.Totals(asked, chosen, reduction.value, by)
        scores = scoring.score(table, arranged, chosen, settings, sink, progress, totals)
        if scores.rows + scores.skipped == 0:
            raise Failure(f"{file} has no rows")
    if as_json:
        report.print_json(report.scores_as_json(file, scores, settings, output))
    else:
        report.print_scores(file, scores, settings, output)


@app.command(help=WARMUP_HELP, short_help="Compile losses beforehand.")
def warmup(
    loss: Annotated[
        list[str] | None,
        typer.Argument(metavar="LOSS", help="Written as for score.", show_default=False),
    ] = None,
    dtype: Annotated[
        list[Precision] | None,
        typer.Option(
            metavar="NAME",
            help="float32, float64; for a GPU bfloat16, float16 too; default: all.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="N",
            help="For rows of so many classes; default: of any number.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        options.Device, typer.Option(metavar="NAME", help="What to compile for: cpu or cuda.")
    ] = options.Device.cpu,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="For a GPU that is elsewhere, such as 90.",
            show_default="that of the GPU here",
        ),
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete all kept machine code, and do no more.")
    ] = False,
) -> None:
    from . import warming

    if clear:
        warming.clear()
        return
    if device is options.Device.cuda:
        from . import warming_gpu

        kinds = [one.value for one in dtype or list(Precision)]
        capability = warming_gpu.capability(compute_capability)
        with _progress("Compiling") as progress:
            warmed = warming.warm_gpu(loss or [], kinds, classes or [], capability, progress)
        warming.print_warmed(warmed)
        return
    if compute_capability is not None:
        raise UsageFailure("--compute-capability is of --device cuda")
    if set(dtype or []) - set(_OF_CPU):
        raise UsageFailure("the processor computes half precisions in float32: --dtype float32")
    reals = [one.value for one in dtype or _OF_CPU]
    with _progress("Compiling") as progress:
        warmed = warming.warm(loss or [], reals, classes or [], progress)
    warming.print_warmed(warmed)


learning.add_to(app)


def _require_gpu() -> None:
    """Raise where no GPU can be used: before anything is read."""
    from ..cuda import availability

    problem = availability.problem()
    if problem is not None:
        raise UsageFailure(f"--device cuda: {problem}; see `numbaloss devices`")


def _use_threads(count: int | None) -> int:
    """The number of threads for the losses; Arrow's decoder gets as many."""
    from .workers import default_threads

    if count is None:
        return default_threads()
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.set_cpu_count(count)
    return count


@contextmanager
def _progress(title: str) -> Iterator[Any]:
    """A function that takes the share done, and shows it where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    from .report import console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(harmless(title), total=1.0)
        yield lambda done: bar.update(task, completed=done)


def run(arguments: list[str]) -> int:
    """Parse the arguments, run the command; the exit code."""
    if not _prepare_streams():
        return _told("cannot write to stdout: it is closed", 1)
    command = typer.main.get_command(app)
    # Whichever click it is: Typer brings its own, older versions import the package.
    click_exception: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        with _leaving_on_terminate():
            code = command.main(
                arguments or ["--help"], prog_name="numbaloss", standalone_mode=False
            )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except Failure as failure:
        return _told(str(failure), failure.exit_code)
    except SettingsError as error:
        return _told(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # The reader has seen enough, `| head` for one. Python must not flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _told(f"cannot write to stdout: {error.strerror or error}", 1)
    except click_exception as error:
        message = error.format_message()  # type: ignore[attr-defined]
        return _told(message, getattr(error, "exit_code", 2))


def _told(message: str, code: int) -> int:
    line = " ".join(one.strip() for one in message.splitlines())
    print(f"numbaloss: {harmless(line)}", file=sys.stderr)
    return code


def _prepare_streams() -> bool:
    """Make stdout and stderr such that writing to them raises nothing odd; False without stdout."""
    # The next file that is opened would get the number of a stream that is closed, and what
    # compilers complain of to stderr.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it stays open
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files hold any bytes, and not every terminal has all letters.
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout is not None


@contextmanager
def _leaving_on_terminate() -> Iterator[None]:
    """Let ``kill``, and a terminal that is closed, run the ``finally`` blocks.

    So neither leaves a temporary file. What is ignored stays ignored, hang-ups under nohup.
    """

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = {}
    try:
        for name in ("SIGTERM", "SIGHUP"):  # the second is not on every system
            number = getattr(signal, name, None)
            # In another thread: whoever runs us there minds the signals.
            with contextlib.suppress(ValueError):
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, leave)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
