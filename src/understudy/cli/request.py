"""What a command was asked to do, kept in its run folder so that `--resume RUN` needs nothing else."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from understudy.core.config import read_toml
from understudy.core.errors import ConfigError, UserError

REQUEST = "request.json"
TRAIN, COMPARE, ABLATE = "train", "compare", "ablate"
RUNS = Path("runs")
_MAX_RUNS = 1000  # folders that one second's name is tried with; more are no accident
_IN_VARIANT = re.compile(r"^(variants\.[^.=]+\.(?:method|optimizer|recipe))=")  # a name that stands for a table
_MARKS = (REQUEST, "identity.json", "model.json")


@dataclass(frozen=True)
class Request:
    """A command with its sources, a table of options, and the plan; relative paths were made absolute.

    Args:
        command: `train`, `compare` or `ablate`.
        options: Fields of `Job`, and of a comparison also what is compared.
        plan: The file of a plan, True to plan, or False; of `train` alone.
    """

    command: str
    source: str
    unlabeled: str | Sequence[str] | None = None
    test: str | None = None
    validation: str | None = None
    cache: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    plan: str | bool = True

    @classmethod
    def new(
        cls,
        command: str,
        source: str,
        *,
        unlabeled: Sequence[str] | None,
        test: str | None,
        validation: str | None,
        cache: Path | None,
        options: Mapping[str, Any],
        plan: str | bool = True,
    ) -> Request:
        """The request of a command line, whose relative paths are made absolute.

        Raises:
            DataError: One of several unlabeled sources does not exist.
        """
        return cls(
            command,
            source=absolute(source) or source,
            unlabeled=absolute_pools(unlabeled),
            test=absolute(test),
            validation=absolute(validation),
            cache=None if cache is None else str(cache.expanduser().absolute()),
            options=options,
            plan=plan,
        )

    def check(self) -> None:
        """Validate the options before any image is read.

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

        write_json(folder / REQUEST, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: Path, command: str) -> Request:
        """The last request of this command in a run folder.

        Raises:
            UserError: The folder does not exist, holds no run of this command, or was written by a newer version.
        """
        request = cls.of_run(folder)
        if request is None:
            problem = "holds no run of the command line" if folder.is_dir() else "does not exist"
            problem = "is a file" if folder.is_file() else problem
            raise UserError(
                f"{folder} {problem}, so there is nothing to resume; name a folder that `understudy {command}` made"
            )
        if request.command != command:
            raise UserError(
                f"{folder} was made by another command; resume it with: understudy {request.command} --resume {folder}"
            )
        return request

    @classmethod
    def of_run(cls, folder: Path) -> Request | None:
        """The request in a folder; None where the run was not started from the command line.

        Raises:
            RunFolderError: The file is damaged or was written by a newer version.
        """
        from understudy.core.errors import RunFolderError
        from understudy.core.files import check_format, read_json

        if not (folder / REQUEST).exists():
            return None
        record = read_json(folder / REQUEST)
        check_format(record, folder)
        try:
            return cls(**{name: value for name, value in record.items() if name != "format"})
        except TypeError:
            raise RunFolderError(f"{folder / REQUEST} is damaged; start the command again in a new folder") from None


def options_table(
    config: Path | None,
    given: Mapping[str, Any],
    assignments: Sequence[str],
    *,
    plan: Path | None = None,
    has_one_method: bool = True,
) -> dict[str, Any]:
    """The table of options: preset, file, command line, `--set`; each overrides those before it.

    Args:
        given: Options of the command line by the name of their setting.
        plan: A saved plan, whose method is meant where knobs are given and no method is named.
        has_one_method: Whether a table `method` without a name is of one method, and not of all that are compared.

    Raises:
        ConfigError: There is no such preset, the file cannot be read, or an assignment is not KEY=VALUE.
    """
    from understudy.experiment.job import Job, resolve

    default_method = Job().method.name if has_one_method else ""  # whose knobs are meant where no method is named
    if plan is not None:
        from understudy.planning.plan import Plan

        default_method = Plan.load(plan).ssl.method.value
    options = dict(given)
    downstream = options.pop("downstream", None)
    table = {} if config is None else read_toml(config)
    if downstream is not None:
        assignments = [f"recipe.downstream={downstream}", *assignments]
    assignments = [_IN_VARIANT.sub(r"\1.name=", text) for text in assignments]
    table = resolve(options, config=_with_tables(table), assignments=assignments, default_method=default_method)
    recipe = table.get("recipe", {}).get("name", Job().recipe.name)
    if downstream is not None and recipe != "pretrain":
        raise ConfigError(
            f"--downstream {downstream} names the recipe after pretraining, and the recipe is {recipe}; "
            "add --recipe pretrain"
        )
    return table | ({"budget": table["budget"].text} if "budget" in table else {})


def _with_tables(table: dict[str, Any]) -> dict[str, Any]:
    """The table with a table for each method, optimizer and recipe that a variant names, so that --set reaches in."""
    variants = table.get("variants")
    if not isinstance(variants, dict):
        return table
    for settings in variants.values():
        for key in ("method", "optimizer", "recipe"):
            if isinstance(settings, dict) and isinstance(settings.get(key), str):
                settings[key] = {"name": settings[key]}
    return table


def absolute(source: str | None) -> str | None:
    """A path that holds from any working directory; the name of a data set stays as it is."""
    if source is None or not Path(source).expanduser().exists():
        return source
    return str(Path(source).expanduser().resolve())


def absolute_pools(sources: Sequence[str] | None) -> str | list[str] | None:
    """The unlabeled sources of the command line, as `train` takes them.

    Raises:
        DataError: One of several does not exist.
    """
    if not sources:
        return None
    if len(sources) == 1:
        return absolute(sources[0])
    from understudy.core.errors import DataError
    from understudy.data.sources.named import is_named

    for source in sources:
        if not is_named(source) and not Path(source).expanduser().exists():
            raise DataError(f"{source!r} does not exist; give each --unlabeled a folder of images or a manifest")
    return [absolute(source) or source for source in sources]


def absolute_plan(plan: Path | None, no_plan: bool) -> str | bool:
    """The plan as `train` takes it: a file, True to plan anew, or False.

    Raises:
        UserError: Both options were given, or the file is not a plan.
    """
    if plan is None:
        return not no_plan
    if no_plan:
        raise UserError("--plan and --no-plan were both given; choose one")
    from understudy.planning.plan import Plan

    Plan.load(plan)
    return str(plan.expanduser().resolve())


def open_folder(out: Path | None, source: str, command: str = TRAIN) -> Path:
    """A folder for a new run: the one asked for, or a fresh one below `runs`.

    Raises:
        UserError: The folder holds a run or other files already, or cannot be made.
    """
    from understudy.core.files import explain_write_errors
    from understudy.core.outputs import check_folder, check_name

    if out is not None:
        check_name(out, "give another folder with --out")
        if any((out / name).exists() for name in _MARKS):
            request = Request.of_run(out)
            made_by = command if request is None else request.command
            raise UserError(
                f"{out} already holds a run; choose another folder, or resume it with: understudy {made_by} --resume "
                f"{out}"
            )
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise UserError(f"{out} is not an empty folder; give --out a folder that is new or empty")
        check_folder(out, option="--out")
        return out
    name = re.sub(r"[^\w.-]+", "-", Path(source).expanduser().stem).strip("-.") or "run"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    with explain_write_errors(RUNS):
        for count in range(1, _MAX_RUNS):
            folder = RUNS / (f"{name}-{stamp}" if count == 1 else f"{name}-{stamp}-{count}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder
    raise UserError(f"{RUNS} holds {_MAX_RUNS} runs of this second; name a folder with --out")


def discard_unstarted(folder: Path) -> bool:
    """Remove a folder in which no training began, for the corrected command to use; return whether it was removed."""
    if any(folder.rglob("ledger.jsonl")) or (folder / "model.json").exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True
