"""Errors a user can cause: one sentence each, saying what was given, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MAX_NAMED = 60  # names in a sentence; the fields of `Job` and the methods are fewer


class UserError(ValueError):
    """Something the user gave cannot be used; the command line prints the sentence and exits with code 2."""


class ConfigError(UserError):
    """A setting is unknown, has the wrong type, or is outside its range."""


class DataError(UserError):
    """The images, labels or manifest cannot be used as given."""


class RunFolderError(UserError):
    """A run folder is damaged, newer than this version, in use, or belongs to other settings."""


class UnderstudyWarning(UserWarning):
    """Something did not work and training continues without it; the command line prints the sentence as a note."""


class Interrupted(Exception):  # noqa: N818 - an outcome, not a fault
    """Training was asked to stop; everything is saved and the same command resumes it."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of an error sentence about an unknown name: the closest match, and all that is allowed."""
    allowed = sorted(allowed)
    close = get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    more = f" and {len(allowed) - _MAX_NAMED} more" if len(allowed) > _MAX_NAMED else ""
    return f"{hint}allowed: {', '.join(allowed[:_MAX_NAMED])}{more}"
