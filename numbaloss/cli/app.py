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
from .progress import shown

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


@app.command(help=SCORE_HELP, short_help="Losses and metrics of files of predictions.")
def score(
    files: options.Files,
    loss: options.Losses = None,
    metric: options.Metrics = None,
    prediction: options.Prediction = None,
    target: options.Target = None,
    classes: options.Classes = None,
    weight: options.Weight = None,
    by: options.By = None,
    compare: options.Compare = None,
    bins: options.Bins = None,
    reduction: options.ReductionName = options.Reduction.mean,
    skip_nan: options.SkipNaN = False,
    no_check: options.NoCheck = False,
    per_sample: options.PerSample = False,
    gradient: options.Gradient = False,
    hessian: options.Hessian = False,
    output: options.Output = None,
    results: options.Results = None,
    as_json: options.AsJSON = False,
    threads: options.Threads = None,
    workers: options.Workers = 1,
    dask: options.Dask = None,
    device: options.DeviceName = options.Device.cpu,
    file_format: options.Format = None,
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
) -> None:
    from . import scored

    scored.run(
        scored.Given(
            files=files, loss=loss or [], metric=metric or [],
            prediction=tuple(prediction or ("prediction",)), target=tuple(target or ("target",)),
            classes=classes, weight=weight, by=by, compare=tuple(compare or ()), bins=bins,
            reduction=reduction.value, skip_nan=skip_nan, no_check=no_check,
            kinds=per_sample * ("value",) + gradient * ("gradient",) + hessian * ("hessian",),
            output=output, results=results, as_json=as_json, threads=threads, workers=workers,
            dask=dask, device=device.value, file_format=file_format and file_format.value,
            text=(delimiter, decimal, encoding),
        )
    )  # fmt: skip


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
        with shown("Compiling") as progress:
            warmed = warming.warm_gpu(loss or [], kinds, classes or [], capability, progress)
        warming.print_warmed(warmed)
        return
    if compute_capability is not None:
        raise UsageFailure("--compute-capability is of --device cuda")
    if set(dtype or []) - set(_OF_CPU):
        raise UsageFailure("the processor computes half precisions in float32: --dtype float32")
    reals = [one.value for one in dtype or _OF_CPU]
    with shown("Compiling") as progress:
        warmed = warming.warm(loss or [], reals, classes or [], progress)
    warming.print_warmed(warmed)


learning.add_to(app)


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
