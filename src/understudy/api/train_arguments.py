"""The arguments of `train` and `plan`, validated, with all options in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from understudy.core.arguments import check, quoted
from understudy.core.errors import DataError, UserError
from understudy.engine.rundir import IDENTITY
from understudy.experiment.job import resolve
from understudy.experiment.log import Watcher
from understudy.planning.plan import Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Arguments:
    """The arguments of a call; documented in `train`."""

    source: Any = None
    unlabeled: Any = None
    test: Any = None
    validation: Any = None
    network: str | nn.Module | Callable[[], nn.Module] = "auto"
    folder: str | Path | None = None
    cache: str | Path | None = None
    tensorboard: str | Path | None = None
    watch: Watcher | None = None
    config: Mapping[str, Any] | None = None
    repeats: int | None = None
    folds: int | None = None
    plan: bool | str | Path | Plan = True
    verbose: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ("folder", "cache", "tensorboard", "watch", "config", "repeats", "folds", "verbose")
        check(**{name: getattr(self, name) for name in names})
        if not isinstance(self.plan, bool | str | Path | Plan):
            raise UserError(f"plan is {quoted(self.plan)}; give True, False, a plan or the file of one")

    @property
    def path(self) -> Path | None:
        """The run folder."""
        return None if self.folder is None else Path(self.folder)

    @property
    def was_begun(self) -> bool:
        """Whether the folder already holds a run.

        Raises:
            DataError: It does, and no images were given to resume it with.
        """
        folder = self.path
        if folder is None or not (folder / IDENTITY).exists():
            return False
        if all(given is None for given in (self.source, self.unlabeled, self.test, self.validation)):
            raise _no_images_for(folder)
        return True

    @property
    def name(self) -> str:
        """The name of the images in reports."""
        return Path(self.source).name if isinstance(self.source, str | Path) else "images given in memory"

    def table(self) -> dict[str, Any]:
        """All options in one table.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        named: dict[str, Any] = {"repeats": self.repeats, "folds": self.folds}
        named["network"] = self.network if isinstance(self.network, str) and self.network != "auto" else None
        named = {name: value for name, value in named.items() if value is not None}
        return resolve({**self.options, **named}, config=self.config)

    def plan_to_use(self) -> Plan | None:
        """The plan that was given; None if one is to be made or planning is off.

        Raises:
            UserError: Its file cannot be read.
        """
        if isinstance(self.plan, bool):
            return None
        return self.plan if isinstance(self.plan, Plan) else Plan.load(self.plan)


def _no_images_for(folder: Path) -> DataError:
    """The error for a call that only names the folder of a run, which does not hold the images."""
    from_command_line = (folder / "request.json").exists()
    way = f"continue with: understudy train --resume {folder}" if from_command_line else "repeat the call that began it"
    return DataError(f"no images were given, and {folder} holds a run; {way}, or give images and a new folder")
