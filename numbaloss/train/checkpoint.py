"""All that a run depends on in one file, of which it goes on to the same bits."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_whole

# What the text of a checkpoint has in the place of an array.
MARK = "array\0"


class CheckpointError(ValueError):
    """A file is no checkpoint, or that of another run."""


def save(path: str | Path, content: Any) -> None:
    """Write dicts, lists, arrays and plain numbers, whole or not at all; no pickles.

    Floats keep their bits: JSON has the shortest text that reads back the same.
    """
    arrays: list[np.ndarray] = []
    text = json.dumps(_packed(content, arrays))
    named = {f"array_{place}": one for place, one in enumerate(arrays)}
    named["structure"] = np.frombuffer(text.encode(), np.uint8)
    write_whole(path, lambda file: np.savez(file, **named))  # type: ignore[arg-type]


def load(path: str | Path) -> Any:
    """What :func:`save` has written.

    Raises
    ------
    CheckpointError
        For a file that is no checkpoint.
    """
    try:
        # Opened here: NumPy leaves what is no archive open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            text = file["structure"].tobytes().decode()
            arrays = [file[f"array_{place}"] for place in range(len(file.files) - 1)]
        return _unpacked(json.loads(text), arrays)
    except (
        ValueError, KeyError, IndexError, EOFError, AttributeError, TypeError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path} is no checkpoint: {error}") from None


def _packed(content: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(content, dict):
        for key in content:
            if not isinstance(key, str):
                raise TypeError(f"keys of a state must be strings, not {key!r}")
        return {key: _packed(value, arrays) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_packed(value, arrays) for value in content]
    if isinstance(content, np.ndarray):
        arrays.append(content)
        return f"{MARK}{len(arrays) - 1}"
    if isinstance(content, np.generic):
        return content.item()
    if content is None or isinstance(content, (bool, int, float, str)):
        return content
    raise TypeError(f"a state must be made of arrays and plain numbers, not {content!r}")


def _unpacked(content: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(content, dict):
        return {key: _unpacked(value, arrays) for key, value in content.items()}
    if isinstance(content, list):
        return [_unpacked(value, arrays) for value in content]
    if isinstance(content, str) and content.startswith(MARK):
        return arrays[int(content.removeprefix(MARK))]
    return content
