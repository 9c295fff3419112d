"""Checks of the arguments of public functions: one rule per name, since a name means the same everywhere."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.core.errors import ConfigError

# A file system's limits in bytes: Linux and macOS allow 255 a name; 4096 a path on Linux is the most of all.
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4096
_MAX_SHOWN = 100  # characters of a value in a sentence: about a line of a terminal
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _MAX_SHOWN
_MAX_COUNT = 10**9  # of anything; a larger number is a mistake, and would end in an overflow or out of memory


@dataclass(frozen=True)
class Rule:
    """A test of a value, and what to write instead of one that fails it."""

    fits: Callable[[Any], bool]
    allowed: str


def check(**arguments: Any) -> None:
    """Check that every argument is what its name asks for; None stands for "not given".

    Raises:
        ConfigError: One is not; the sentence gives its name, its value and what is allowed.
    """
    for name, value in arguments.items():
        rule = RULES[name]
        if value is None or rule.fits(value):
            continue
        if rule is _PATH and (problem := path_problem(value)) is not None:
            raise ConfigError(f"{name} {quoted(value)} {problem}; give {rule.allowed}")
        raise ConfigError(f"{name} is {quoted(value)}; give {rule.allowed}")


def quoted(value: Any) -> str:
    """The value as short text, whatever its own `__repr__` does."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # an object's own __repr__ can raise anything
        text = f"of type {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def has(value: Any, name: str) -> bool:
    """Whether the value has the attribute; asking can raise anything, which counts as no."""
    try:
        return hasattr(value, name)
    except Exception:
        return False


def path_problem(path: Any) -> str | None:
    """Why this cannot be the path of a file or folder, as the end of a sentence, or None."""
    try:
        text: Any = os.fspath(path)
        if not isinstance(text, str):
            return "is bytes"
        if not text:
            return "is empty"
        if "\0" in text:
            return "holds a NUL character"
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return "is not valid text"
    except Exception as error:  # an object's own __fspath__ can raise anything
        return "is not a path" if isinstance(error, TypeError) else f"is not a path ({type(error).__name__})"
    if len(encoded) > _MAX_PATH_BYTES or max(map(len, encoded.split(b"/"))) > _MAX_NAME_BYTES:
        return f"is longer than a file system allows, with {len(encoded)} bytes"
    return None


def is_whole(value: Any, low: int = 0, high: int = _MAX_COUNT) -> bool:
    """Whether it is a whole number from `low` to `high`, NumPy's included and bool not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(low <= value <= high)


def _is_counts(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, (Sequence, np.ndarray)):
        return is_whole(value, 1)
    return bool(len(value)) and all(is_whole(number, 0) for number in value)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_watcher(value: Any) -> bool:
    return not isinstance(value, (type, bool)) and has(value, "decoding") and callable(value.decoding)


def _is_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Sequence) and not isinstance(value, bytes))


_PATH = Rule(lambda value: path_problem(value) is None, "a path as text or pathlib.Path")
_YES_NO = Rule(lambda value: isinstance(value, (bool, np.bool_)), "True or False")
_TABLE = Rule(_is_table, "a dictionary of options by name, as {'seed': 1}")
_OBSERVER = Rule(lambda value: callable(value) and not isinstance(value, type), "a function")
_COUNT = Rule(lambda value: is_whole(value, 1), "a whole number of at least 1")

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("folder", "cache", "tensorboard", "run", "path"), _PATH),
    **dict.fromkeys(("near", "features", "upper_bound", "test_time_averaging"), _YES_NO),
    **dict.fromkeys(("config", "options"), _TABLE),
    **dict.fromkeys(("decoding", "observe", "map"), _OBSERVER),
    **dict.fromkeys(("count", "num_steps", "batch_size", "jobs"), _COUNT),
    **dict.fromkeys(
        ("repeats", "folds"),
        Rule(lambda value: isinstance(value, (int, np.integer)) and not isinstance(value, bool), "a whole number"),
    ),
    **dict.fromkeys(("seeds", "num_labels"), Rule(_is_counts, "a whole number of at least 1, or a list of them")),
    "seed": Rule(lambda value: is_whole(value, 0, 2**63 - 1), "a whole number from 0 to 2**63 - 1"),
    "size": Rule(lambda value: is_whole(value, 0, 1024), "the side of the training image in px, from 4 to 1024"),
    "channels": Rule(lambda value: is_whole(value, 0, 3), "1 for gray-scale or 3 for color"),
    "verbose": Rule(
        lambda value: is_whole(value) or isinstance(value, (bool, np.bool_)), "0 for no output or 1 for progress"
    ),
    "watch": Rule(_is_watcher, "an object with the methods of understudy's progress displays, or leave it out"),
    "budget": Rule(lambda value: isinstance(value, str), "text, such as '10m', '5000steps' or '10epochs'"),
    "drop": Rule(lambda value: isinstance(value, (list, tuple)), "a list of kinds of findings, such as ['outliers']"),
    "methods": Rule(_is_names, "a name, or a list of names and method objects"),
    "variants": Rule(lambda value: isinstance(value, Mapping), "a table of settings under the name of each variant"),
}
