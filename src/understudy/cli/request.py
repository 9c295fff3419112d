"""What a training command was asked to do, kept in its run folder so that `--resume RUN` needs nothing else."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from understudy.core.config import override, read_toml
from understudy.core.errors import ConfigError, UserError

FILE = "command.json"
RUNS = Path("runs")
_NAMED = re.compile(r"^(method|optimizer|recipe|recipe\.pretext|recipe\.downstream)=")  # a name stands for a table
_MARKS = (FILE, "identity.json", "model.json")


@dataclass(frozen=True)
class Request:
    """Sources, options as a table of `Job`, and the plan, as `train` takes them; relative paths were made absolute."""

    source: str
    unlabeled: str | Sequence[str] | None = None
    test: str | None = None
    validation: str | None = None
    cache: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    plan: str | bool = True

    def check(self) -> None:
        """Nothing, when the options are legal; better said before images are read than after.

        Raises:
            ConfigError: An option is unknown, has the wrong type, or is outside its range.
        """
        from understudy.core.config import from_table
        from understudy.experiment.job import Job
        from understudy.experiment.repeats import Repetition

        known = {
            key: value
            for key, value in self.options.items()
            if key != "optimizer" or not isinstance(value, Mapping) or "name" in value
        }
        Repetition.taken_from(known)
        from_table(Job, known)

    def save(self, folder: Path) -> None:
        """Write it into a run folder."""
        from understudy.core.files import FORMAT, write_json

        write_json(folder / FILE, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> Request:
        """The request that began the run in a folder.

        Raises:
            UserError: The folder is not there, holds no run of this command, or was written by a newer version.
        """
        from understudy.core.files import check_format, read_json

        if not (folder / FILE).exists():
            what = "holds no run of the command line" if folder.is_dir() else "is not there"
            what = "is a file" if folder.is_file() else what
            raise UserError(f"{folder} {what}, so there is nothing to resume; name a folder that `train` made")
        found = read_json(folder / FILE)
        check_format(found, folder)
        return cls(**{name: value for name, value in found.items() if name != "format"})


def options_table(
    config: Path | None, given: Mapping[str, Any], assignments: Sequence[str], *, plan: Path | None = None
) -> dict[str, Any]:
    """The table of options: the preset's, the file's, the command line's, its `--set`; later ones overrule.

    Args:
        given: Options of the command line by the name of their setting; None was not given.
        plan: A saved plan, whose method is meant where knobs are given and no method is named.

    Raises:
        ConfigError: There is no such preset, the file cannot be read, or an assignment is not KEY=VALUE.
    """
    from understudy.experiment.job import Job
    from understudy.experiment.presets import with_preset

    default_method = Job().method.name  # whose knobs are meant where no method is named
    if plan is not None:
        from understudy.planning.plan import Plan

        default_method = Plan.load(plan).ssl.method.value
    table = {} if config is None else read_toml(config)
    if given.get("preset") is not None:
        table["preset"] = given["preset"]
    table = with_preset(table)
    for key in ("method", "optimizer", "recipe"):
        if isinstance(table.get(key), str):
            table[key] = {"name": table[key]}
    for key, value in given.items():
        if value is None or key in ("preset", "downstream"):
            continue
        default = {"method": default_method, "recipe": Job().recipe.name}.get(key)
        if default is None:
            table[key] = value
        elif not isinstance(table.get(key), dict) or table[key].get("name", default) != value:
            table[key] = {"name": value}  # another method or recipe has other knobs
    if (downstream := given.get("downstream")) is not None:
        recipe = table.get("recipe", {}).get("name", Job().recipe.name)
        if recipe != "pretrain":
            raise ConfigError(
                f"--downstream {downstream} names what follows pretraining, and the recipe is {recipe}; "
                "add --recipe pretrain"
            )
        table["recipe"]["downstream"] = {"name": downstream}
    table = override(table, [_NAMED.sub(r"\1.name=", text) for text in assignments])
    if isinstance(table.get("method"), dict):
        table["method"].setdefault("name", default_method)
    return table


def absolute(source: str | None) -> str | None:
    """A path that holds from any working directory; the name of a data set stays as it is."""
    if source is None or not Path(source).expanduser().exists():
        return source
    return str(Path(source).expanduser().resolve())


def absolute_pools(sources: Sequence[str] | None) -> str | list[str] | None:
    """The unlabeled sources of the command line, as `train` takes them.

    Raises:
        DataError: One of several is not there.
    """
    if not sources:
        return None
    if len(sources) == 1:
        return absolute(sources[0])
    from understudy.core.errors import DataError
    from understudy.data.sources.named import is_named

    for source in sources:
        if not is_named(source) and not Path(source).expanduser().exists():
            raise DataError(f"{source!r} is not there; give each --unlabeled a folder of images or a manifest")
    return [absolute(source) or source for source in sources]


def absolute_plan(plan: Path | None, without: bool) -> str | bool:
    """The plan to use as `train` takes it: a file, True to plan anew, or False.

    Raises:
        UserError: Both were asked for, or the file is no plan.
    """
    if plan is None:
        return not without
    if without:
        raise UserError("--plan and --no-plan were both given; choose one")
    from understudy.planning.plan import Plan

    Plan.load(plan)
    return str(plan.expanduser().resolve())


def open_folder(out: Path | None, source: str) -> Path:
    """A folder for a new run: the one asked for, or a fresh one below `runs`.

    Raises:
        UserError: The folder holds a run or other files already, or cannot be made.
    """
    from understudy.core.files import explained
    from understudy.core.outputs import check_folder, check_name

    if out is not None:
        check_name(out, "give another folder with --out")
        if any((out / name).exists() for name in _MARKS):
            raise UserError(
                f"{out} already holds a run; choose another folder, or go on with it: understudy train --resume {out}"
            )
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise UserError(f"{out} is not an empty folder; give --out a folder that is new or empty")
        check_folder(out, option="--out")
        return out
    name = re.sub(r"[^\w.-]+", "-", Path(source).expanduser().stem).strip("-.") or "run"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    with explained(RUNS):
        for count in range(1, 1000):
            folder = RUNS / (f"{name}-{stamp}" if count == 1 else f"{name}-{stamp}-{count}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder
    raise UserError(f"{RUNS} holds a thousand runs of this second; name a folder with --out")


def discard_unstarted(folder: Path) -> bool:
    """Whether the folder held no training yet and was removed, so that the corrected command can use its name."""
    if any(folder.rglob("ledger.jsonl")) or (folder / "model.json").exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True
