"""Display of a running experiment, and the log of its sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from understudy.engine.observers import StepReport


class Watcher(Protocol):
    """A display of progress."""

    def message(self, text: str) -> None:
        """Show a sentence."""

    def decoding(self, done: int, total: int) -> None:
        """Show how many images were decoded so far."""

    def step(self, report: StepReport) -> None:
        """Show a finished training step."""


class Silent:
    """A watcher that shows nothing."""

    def message(self, text: str) -> None:
        """Ignore it."""

    def decoding(self, done: int, total: int) -> None:
        """Ignore it."""

    def step(self, report: StepReport) -> None:
        """Ignore it."""


class Log:
    """The sentences of an experiment, in order."""

    def __init__(self, watch: Watcher, sentences: Iterable[str] = ()) -> None:
        """A log that begins with these sentences, which are not shown again."""
        self.watch = watch
        self.sentences = list(sentences)

    def say(self, text: str) -> None:
        """Show a sentence and keep it."""
        self.record(text)
        self.watch.message(text)

    def record(self, text: str) -> None:
        """Keep a sentence without showing it."""
        self.sentences.append(text)

    def branch(self) -> Log:
        """A log for a part of the experiment that begins with the sentences so far."""
        return Log(self.watch, self.sentences)
