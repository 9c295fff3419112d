"""Several tasks at a time, in processes that take one after another and end with the process that began them."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from understudy.core.errors import Interrupted, UserError
from understudy.core.stopping import stop_signals

Task = TypeVar("Task")
Result = TypeVar("Result")
Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""What a function that fans out takes as `map=`: (function, tasks) to results, in any order as they come."""

_MAX_ATTEMPTS = 3  # a process may die of what others do, such as use up memory; hardly three times in a row
_TO_SAVE_S = 60.0  # a task stops at its next step and writes a checkpoint, which takes seconds even on a slow disk
_READY = ("ready", None)


def in_processes(jobs: int, lost: Callable[[Any, str], Any]) -> Map:
    """A map over several processes with one thread each.

    A process that dies is replaced and its task begun again. When the caller stops early, tasks get SIGTERM and time to
    save.

    Args:
        lost: The result of a task whose process died every time, from the task and the reason.
    """

    def run(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        waiting = deque((task, 1) for task in tasks)
        workers = [_Worker() for _ in range(min(jobs, len(tasks)))]
        try:
            while waiting or any(worker.task for worker in workers):
                for worker in workers:
                    if waiting and worker.task is None:
                        worker.give(function, *waiting.popleft())
                busy = {worker.pipe: worker for worker in workers if worker.task is not None}
                for pipe in connection.wait(list(busy)):
                    worker = busy[pipe]  # type: ignore[index]
                    assert worker.task is not None
                    task, attempt = worker.task
                    try:
                        message = worker.receive()
                    except EOFError:
                        reason = worker.death()
                        workers[workers.index(worker)] = _Worker()
                        if attempt < _MAX_ATTEMPTS:
                            waiting.appendleft((task, attempt + 1))
                        else:
                            yield lost(task, reason)
                        continue
                    if message != _READY:
                        worker.task = None
                        yield worker.result(message)
        finally:
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.close()

    return run


class _Worker:
    """A process, its end of the pipe, and the task it is at with the number of attempts."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.task: tuple[Any, int] | None = None
        self._ready = False
        self.process.start()
        theirs.close()

    def give(self, function: Callable[[Any], Any], task: Any, attempt: int) -> None:
        """Let the process begin the task."""
        self.task = (task, attempt)
        with suppress(OSError):  # it died while idle, which reading its answer will tell
            self.pipe.send((function, task))

    def receive(self) -> tuple[str, Any]:
        """What the process says next: that it is ready, or how its task ended.

        Raises:
            EOFError: The process died.
            UserError: It could not even start.
        """
        try:
            message: tuple[str, Any] = self.pipe.recv()
        except (EOFError, ConnectionError):
            if not self._ready:
                raise UserError(
                    "a worker process could not start; put the call under `if __name__ == '__main__':`, "
                    "or run one at a time with jobs=1"
                ) from None
            raise EOFError from None
        self._ready = True
        return message

    @staticmethod
    def result(message: tuple[str, Any]) -> Any:
        """The result in a message, unless it is an error, which is raised."""
        kind, value = message
        if kind == "raised":
            raise value
        return value

    def death(self) -> str:
        """How the process ended, in words."""
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its process ended with code {code}"
        hint = ", as the system does when memory runs out" if -code == getattr(signal, "SIGKILL", 9) else ""
        return f"its process was killed by signal {-code}{hint}"

    def stop(self) -> None:
        """Ask the process to save and end."""
        if self.task is not None:
            self.process.terminate()
        self.pipe.close()

    def close(self) -> None:
        """Wait until it ended."""
        self.process.join(_TO_SAVE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: connection.Connection) -> None:
    """Work on what comes through the pipe until it closes."""
    import torch

    for number in stop_signals():  # Ctrl-C and hang-up reach the whole group, and the first process tells us
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        pipe.send(_READY)
        while True:
            function, task = pipe.recv()
            try:
                answer = ("done", function(task))
            except Interrupted:
                return
            except Exception as error:
                answer = ("raised", error)
            pipe.send(answer)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _end_with_parent() -> None:
    """End at once when the process that began this one is gone, so that its folder is free for the next."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
