"""Where this package prints: a rich terminal, or plain lines for files, pipes and dumb terminals."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


_AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}


def open_console() -> Console:
    """The console of standard output; a plain one never emits a control character."""
    from rich.console import Console

    output = sys.stdout  # None in a program without a window, and closed by some services
    is_terminal = output is not None and not output.closed and output.isatty()
    plain = not is_terminal or os.environ.get("TERM", "") in ("", "dumb") or bool(os.environ.get("NO_COLOR"))
    if plain:
        return Console(force_terminal=False, force_jupyter=False, color_system=None, **_AS_IT_IS)
    return Console(**_AS_IT_IS)


def say(console: Console, text: str = "") -> None:
    """Print a line as it is: wrapped between words by a terminal, never by a file."""
    console.print(text, soft_wrap=not console.is_terminal)


def print_error(text: str) -> None:
    """Print a sentence as one line of standard error."""
    print(" ".join(text.split()), file=sys.stderr)
