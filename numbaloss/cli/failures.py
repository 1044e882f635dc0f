"""What goes wrong on a command line: one line for the user, one exit code for the shell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class Failure(Exception):
    """The data is bad, or cannot be read or written. The message is all the user sees."""

    exit_code = 1


class UsageFailure(Failure):
    """The command asks for something that no file could give."""

    exit_code = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'target'?``, or the list of what there is."""
    names = list(known)
    lowered = {one.lower(): one for one in reversed(names)}
    close = [lowered[one] for one in get_close_matches(name.lower(), lowered, 3, 0.5)]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"it has {shown}" if names else "it has none"


def harmless(text: str) -> str:
    """Text without what a terminal would obey or could not show: file names hold any bytes."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def first_line(error: BaseException) -> str:
    """What an exception says, without the pages that some libraries append."""
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    line = reason.splitlines()[0].strip().rstrip(".")
    return line if len(line) <= 300 else line[:297] + "..."


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn whatever a reader raises into a failure that names the file.

    What readers raise for a damaged file has no common type: syntax errors of NumPy's headers,
    missing keys of archives, errors of codecs, sizes that no memory holds.
    """
    try:
        yield
    except Failure:
        raise
    except FileNotFoundError:
        raise Failure(f"{path} does not exist") from None
    except (OSError, ValueError, TypeError, NotImplementedError, EOFError) as error:
        raise Failure(f"cannot read {path}: {first_line(error)}") from error
    except Exception as error:
        if "encrypted" in str(error):  # zipfile has no type of its own for it
            raise Failure(f"cannot read {path}: it is encrypted") from error
        raise Failure(f"cannot read {path}: it is damaged ({first_line(error)})") from error


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn whatever a writer raises into a failure that names the file."""
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot write {path}: {first_line(error)}") from error
