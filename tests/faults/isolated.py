"""One attack in a forked child, which has every library imported already and may die without harm."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 120.0  # a tiny run takes a second or two on an idle core; this much longer is a hang, not a busy machine
_POLL_S = 0.005


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Args:
        value: What the function returned, as JSON holds it.
        error: The traceback of an exception, or an empty text.
        killed: Whether it died of SIGKILL that it sent itself.
    """

    value: Any = None
    error: str = ""
    killed: bool = False


def isolated(function: Callable[[], Any], limit_s: float = LIMIT_S) -> Ended:
    """Call a function in a forked child and wait for it, no longer than the limit."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of threads, none of which holds a lock here
            child = os.fork()
        if child == 0:
            _serve(function, answer)
        status = _wait(child, limit_s)
        if status is None:
            return Ended(error=f"did not end within {limit_s:.0f} s")
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return Ended(killed=True) if number == signal.SIGKILL else Ended(error=f"died of signal {number}")
        if not answer.exists():
            return Ended(error=f"ended with code {os.waitstatus_to_exitcode(status)}")
        return Ended(**json.loads(answer.read_text("utf-8")))


def _serve(function: Callable[[], Any], answer: Path) -> None:
    found: dict[str, Any] = {}
    try:
        os.setsid()
        for number in (0, 1, 2):  # a progress bar or a pager must not reach the terminal
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        found = {"value": function()}
    except BaseException:
        found = {"error": traceback.format_exc()}
    try:
        answer.write_text(json.dumps(found), "utf-8")
    finally:
        os._exit(0)


def _wait(child: int, limit_s: float) -> int | None:
    """The status of the child, or None if it had to be killed; its own children go with it."""
    until = time.monotonic() + limit_s
    status: int | None = None
    while time.monotonic() < until:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = code
            break
        time.sleep(_POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    return status
