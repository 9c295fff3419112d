"""A plan: every choice of a training job with its reason; saved, loaded and compared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from understudy.core.arguments import check
from understudy.core.brief import Brief, as_html
from understudy.core.budget import Budget, Cost, format_seconds
from understudy.core.config import read_toml
from understudy.core.errors import ConfigError, RunFolderError, nearest
from understudy.core.files import atomic
from understudy.planning.choice import Choice, Learned, nested
from understudy.planning.learn_architecture import LearnedArchitecture
from understudy.planning.learn_data import LearnedData
from understudy.planning.learn_optimization import LearnedOptimization
from understudy.planning.learn_regularization import LearnedRegularization
from understudy.planning.learn_ssl import LearnedSSL

FORMAT = 1  # of the TOML file; raised when a reader of the old one would fail
_HOW = ("asked", "measured", "tried", "rule")


@dataclass(frozen=True, repr=False)
class Plan(Brief):
    """The settings chosen for one set of images, one budget and one machine.

    Args:
        budget: Of the whole command.
        note: Why nothing was measured or tried, or an empty text.
        cost: Of all parts and what joins them.
    """

    data: LearnedData
    architecture: LearnedArchitecture
    optimization: LearnedOptimization
    regularization: LearnedRegularization
    ssl: LearnedSSL
    budget: Budget
    note: str = ""
    cost: Cost = field(default_factory=Cost)

    def brief(self) -> tuple[str, ...]:
        """The choices without their reasons."""
        chosen = (f"{choice.key} {format_setting(choice.value)}" for choice in self.choices)
        return (f"for a budget of {self.budget.text}: {', '.join(chosen)}", self.summary)

    def _repr_html_(self) -> str:
        rows = [(choice.key, format_setting(choice.value), choice.reason) for choice in self.choices]
        return as_html(
            self, (f"for a budget of {self.budget.text}", self.summary), [("setting", "value", "reason"), *rows]
        )

    @property
    def parts(self) -> dict[str, Learned]:
        """The parts by name."""
        return {name: getattr(self, name) for name in _PARTS}

    @property
    def choices(self) -> tuple[Choice[Any], ...]:
        """All choices in order."""
        return tuple(choice for part in self.parts.values() for choice in part.choices)

    @property
    def share(self) -> float:
        """The part of the budget that planning took, on the budget's own clock."""
        return self.cost.share_of(self.budget)

    def options(self) -> dict[str, Any]:
        """The choices as options of a training job, nested as in its TOML file."""
        return nested(self.choices)

    def sentences(self) -> tuple[str, ...]:
        """Each choice with its reason, and the cost of planning."""
        lines = [
            f"{choice.key} = {format_setting(choice.value)}: {choice.reason}."
            for choice in self.choices
            if choice.how != "asked"
        ]
        return (*lines, self.summary)

    def decision(self, images: str, *, method: str, recipe: str = "plain", is_given: bool = False) -> str:
        """Whether the unlabeled images are trained on, and why, as one sentence.

        Args:
            images: What the method is trained on, in words.
            method: The method that is trained; the user may have overridden the plan.
            is_given: Whether the plan was made before, for other images or another budget, so its reasons may not hold.
        """
        choice = self.ssl.method
        why = f"because {choice.reason}"
        if method != choice.value or choice.how == "asked":
            why = "as you asked"
        elif is_given:
            why = "as the plan says"
        if method == "supervised" and recipe == "plain":
            return f"Labels alone will be trained, {why}."
        return f"{method if recipe == 'plain' else f'{recipe} with {method}'} will be trained on {images}, {why}."

    @property
    def summary(self) -> str:
        """The cost of planning, and what it could measure."""
        if self.note:
            return f"Nothing was timed or tried, since {self.note}."
        spent = f"{format_seconds(self.cost.wall_s)} ({self.cost.cpu_s:.1f} CPU-s)"
        return f"Planned in {spent}, {100 * self.share:.0f} % of the budget of {self.budget.text}."

    def diff(self, other: Plan) -> tuple[str, ...]:
        """A line for each setting in which the two plans differ, this one's value first."""
        mine, theirs = ({choice.key: choice for choice in plan.choices} for plan in (self, other))
        lines = []
        for key in dict.fromkeys((*mine, *theirs)):
            here, there = mine.get(key), theirs.get(key)
            first, second = (
                "not chosen" if choice is None else format_setting(choice.value) for choice in (here, there)
            )
            if first != second:
                lines.append(f"{key}: {first} -> {second}" + (f" ({there.reason})" if there is not None else ""))
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "format": FORMAT,
            "budget": self.budget.text,
            "note": self.note,
            "share": round(self.share, 4),
            "cost": asdict(self.cost),
            **{name: _part_to_json(part) for name, part in self.parts.items()},
        }

    def save(self, path: str | Path) -> None:
        """Write the plan as TOML.

        Raises:
            UserError: The file cannot be written.
        """
        import tomli_w

        check(path=path)
        path = Path(path)
        text = _HEAD + tomli_w.dumps(self.to_json())
        with atomic(path, parents=True) as temporary:
            temporary.write_text(f"{text}\n{_seal(text)}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, *, unchanged: bool = False) -> Plan:
        """Load a plan that `save` wrote, also with values changed by hand.

        Args:
            unchanged: Whether to refuse a file that was changed, as that of an interrupted run must not be.

        Raises:
            ConfigError: The file does not exist, is not a plan, or was written by a newer version.
        """
        check(path=path)
        path = Path(path)
        if unchanged and not _is_unchanged(path):
            raise RunFolderError(
                f"{path} was changed or damaged after its run began; restore it, or copy it and train a new run "
                "with --plan"
            )
        table = read_toml(path)
        if not isinstance(table.get("format"), int) or not set(_PARTS) <= set(table):
            raise ConfigError(f"{path} is not a plan; name a plan.toml that `understudy plan` or a training run wrote")
        if table["format"] > FORMAT:
            raise ConfigError(f"{path} was written by a newer version of understudy; upgrade to read it")
        try:
            parts: dict[str, Any] = {
                name: _part_from_table(part, table[name], f"{path}: {name}") for name, part in _PARTS.items()
            }
            cost = Cost(**table["cost"])
            return cls(**parts, budget=Budget.parse(table["budget"]), note=str(table["note"]), cost=cost)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{path} is damaged or was changed ({error}); plan anew") from None


_HEAD = """\
# Every choice of a training run. Change a value and train with it: understudy train PHOTOS --plan THIS_FILE
# how: asked = by you, measured = on your images or machine, tried = by short trainings, rule = by benchmarks.

"""
_PARTS: dict[str, Any] = {
    "data": LearnedData,
    "architecture": LearnedArchitecture,
    "optimization": LearnedOptimization,
    "regularization": LearnedRegularization,
    "ssl": LearnedSSL,
}


def _seal(text: str) -> str:
    return f"# checksum: {hashlib.blake2b(text.strip().encode(), digest_size=8).hexdigest()}"


def _is_unchanged(path: Path) -> bool:
    try:
        text, _, seal = path.read_text(encoding="utf-8").rstrip().rpartition("\n")
    except (OSError, UnicodeDecodeError):
        return False
    return seal == _seal(text)


def _part_to_json(part: Learned) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name in (declared.name for declared in dataclasses.fields(part)):
        value = getattr(part, name)
        if isinstance(value, Choice):
            table[name] = {
                "key": value.key,
                "value": list(value.value) if isinstance(value.value, tuple) else value.value,
                "how": value.how,
                "reason": value.reason,
                "check": _check(value.value),
            }
    return table | {"cost": asdict(part.cost), "figures": json.loads(json.dumps(part.figures))}


def _part_from_table(cls: type[Learned], table: Any, where: str) -> Learned:
    names = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} is not a table; plan anew")
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in names:
            raise ConfigError(f"{where} has no choice {name!r}; {nearest(name, names)}")
        if name == "figures":
            values[name] = value
        elif name == "cost":
            values[name] = Cost(**value)
        else:
            values[name] = _choice(value, f"{where}.{name}")
    try:
        return cls(**values)
    except TypeError:
        missing = sorted(names - set(values))
        raise ConfigError(f"{where} lacks {', '.join(missing)}; plan anew") from None


def _choice(table: Any, where: str) -> Choice[Any]:
    if not isinstance(table, Mapping) or not {"key", "value"} <= set(table):
        raise ConfigError(f"{where} is not a choice; it needs a key and a value")
    how = table.get("how", "asked")
    if how not in _HOW:
        raise ConfigError(f"{where}.how is {how!r}; {nearest(str(how), _HOW)}")
    value = tuple(table["value"]) if isinstance(table["value"], list) else table["value"]
    if table.get("check") != _check(value):
        return Choice(str(table["key"]), value, "asked", "you changed it in the plan")
    return Choice(str(table["key"]), value, how, str(table.get("reason", "")))


def _check(value: Any) -> str:
    """A checksum by which a value that was changed by hand is known, so that its old reason is not shown."""
    plain = list(value) if isinstance(value, tuple) else value
    return hashlib.blake2b(repr(plain).encode(), digest_size=4).hexdigest()


def format_setting(value: Any) -> str:
    """A value as text for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
