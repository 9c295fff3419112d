"""Progress by default: a long call of the Python API shows what it does unless it is `quiet` or watched by others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from understudy.display.console import open_console
from understudy.display.progress import watching

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
T = TypeVar("T")

WATCH = {"watch": ""}
CALLBACKS = {"decoding": "decoding", "observe": "working"}


def with_progress(
    finish: Callable[[Console, Any], None] | None = None,
    show: Callable[[Console], AbstractContextManager[Any]] = watching,
    arguments: Mapping[str, str] = WATCH,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that has an option `quiet`: unless that is true or it is watched already, it is shown.

    Args:
        finish: Prints what came of it.
        show: Gives a watcher that suits the console.
        arguments: The function's arguments that watch it, each with the part of the watcher that it takes; "" is all.
    """

    def decorate(work: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(work)
        def inner(*args: P.args, **kwargs: P.kwargs) -> T:
            if kwargs.get("quiet") or any(kwargs.get(name) is not None for name in arguments):
                return work(*args, **kwargs)
            console = open_console()
            with show(console) as watch:
                kwargs.update({name: getattr(watch, part) if part else watch for name, part in arguments.items()})
                result = work(*args, **kwargs)
            if finish is not None:
                finish(console, result)
            return result

        return inner

    return decorate
