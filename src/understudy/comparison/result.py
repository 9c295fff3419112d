"""The result of a comparison: every run, and for each number of labels the gain of each method and its significance."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from understudy.comparison.single_run import Figures
from understudy.core.brief import Brief
from understudy.core.errors import DataError
from understudy.core.files import atomic, write_json
from understudy.evaluation.intervals import Interval
from understudy.evaluation.ranking import Friedman
from understudy.evaluation.seeds import Gain

Clock = Literal["cpu_s", "wall_s"]

FORMAT = 1  # of `comparison.json`; raised when an older version would misread it
BASELINE, ALL_LABELS = "supervised", "all labels"


@dataclass(frozen=True)
class Run:
    """One run of a method with one number of labels and one seed: its figures, or the error that ended it.

    Args:
        num_labels: Labels kept; 0 is all.
        folder: Below the comparison's folder.
    """

    method: str
    num_labels: int
    seed: int
    folder: str
    figures: Figures | None = None
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """One method with one number of labels over the finished seeds; all figures are None if no seed finished.

    Args:
        deviation: Standard deviation between seeds, which differ in label draw and initial weights; None for one.
        interval: Of the mean over seeds, by Student's t; None for one seed or where all are equal.
        mean_rank: Among the methods, over the seeds that all of them finished.
        gain: Over supervised; None for supervised itself and where no seed finished both.
        cost_ratio: Mean over seeds of this method's cost as a share of supervised's.
    """

    method: str
    num_labels: int
    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    accuracy: float | None = None
    deviation: float | None = None
    interval: Interval | None = None
    worst: float | None = None
    worst_seed: int | None = None
    balanced_accuracy: float | None = None
    mean_rank: float | None = None
    gain: Gain | None = None
    cost_ratio: float | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    steps: float | None = None
    mask_ratio: float | None = None
    pseudo_label_accuracy: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class AblationStep:
    """One ingredient of an ablation, added to all those before it.

    Args:
        name: The variant of the comparison that has it and all those before it.
        adds: The ingredient.
        settings: Those that make it.
        gain: Over the step before, on the same labels and seeds, corrected for all steps; None for the first and where
            no seed finished both.
    """

    name: str
    adds: str
    settings: str
    accuracy: float | None
    interval: Interval | None
    gain: Gain | None


@dataclass(frozen=True)
class Gap:
    """The share of the gap between supervised learning with the labels kept and with all labels that a method closes.

    Args:
        num_seeds: Those that finished all three.
        share: 1 is as good as all labels; None if all labels have no certain gain.
        interval: Over seeds; None for one.
        sentence: The same in words; empty where no seed finished.
    """

    method: str
    num_labels: int
    num_seeds: int
    share: float | None
    interval: Interval | None
    sentence: str


@dataclass(frozen=True)
class UpperBound:
    """Supervised learning with all labels that were hidden, at the same cost; not ranked, tested or selected."""

    summary: Summary
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonResult(Brief):
    """Variants x numbers of labels x seeds, every run at one budget, tested on images that selected nothing.

    Args:
        methods: Names of the variants in the order asked for, supervised first.
        num_labels: Labels kept; 0 is all.
        cost_clock: The clock that costs are compared by: the processor's, or the wall's for a device.
        is_timed: Whether the budget is a time, which matches costs, or a number of steps, which does not.
        chosen: By number of labels, the method that the validation images select; None without validation images.
        friedman: Over the blocks of labels and seed that all its methods finished; None for fewer than 3 methods or
            2 blocks.
        ranked: The methods that have a rank: those with any finished run.
        upper_bound: Supervised learning with all labels, if requested; its runs are among `runs`.
        ablation: The steps of an ablation, if the comparison was made for one.
        sentences: What the figures show, one statement each.
    """

    methods: tuple[str, ...]
    num_labels: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: str
    cost_clock: Clock
    is_timed: bool
    test_source: str
    runs: tuple[Run, ...]
    summaries: tuple[Summary, ...]
    chosen: Mapping[int, str | None]
    friedman: Friedman | None
    ranked: tuple[str, ...]
    notes: tuple[str, ...]
    folder: Path | None
    upper_bound: UpperBound | None = None
    ablation: tuple[AblationStep, ...] = ()
    sentences: tuple[str, ...] = ()

    def brief(self) -> tuple[str, ...]:
        """The number of variants and runs, the folder, and the conclusions."""
        failed = sum(run.figures is None for run in self.runs)
        what = f"{len(self.methods)} variants, {len(self.runs):,} runs of {self.budget}"
        what += f", {failed:,} of which failed" if failed else ""
        where = () if self.folder is None else (f"saved in {self.folder}",)
        return (what, *where, *self.sentences)

    def summary(self, method: str, num_labels: int = 0) -> Summary:
        """The summary of a method for one number of labels.

        Raises:
            DataError: It is not part of the comparison.
        """
        for summary in self.summaries:
            if (summary.method, summary.num_labels) == (method, num_labels):
                return summary
        raise DataError(
            f"method {method!r} with {num_labels} labels is not part of the comparison of {', '.join(self.methods)} "
            f"with {', '.join(map(str, self.num_labels))} labels"
        )

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain |= {
            "runs": [asdict(run) for run in self.runs],
            "summaries": [asdict(summary) for summary in self.summaries],
            "chosen": {str(count): name for count, name in self.chosen.items()},
            "friedman": None if self.friedman is None else asdict(self.friedman),
            "upper_bound": None if self.upper_bound is None else asdict(self.upper_bound),
            "ablation": [asdict(step) for step in self.ablation],
        }
        del plain["folder"]
        return {"format": FORMAT, **plain}

    def save(self, folder: Path, more: Mapping[str, Any]) -> None:
        """Write `comparison.json`, `runs.csv` and `summary.csv`.

        Args:
            more: What else the JSON is to say.
        """
        write_json(folder / "comparison.json", {**self.to_json(), **more})
        _write_csv(folder / "runs.csv", [_flat(run, run.figures) for run in self.runs])
        _write_csv(folder / "summary.csv", [_flat(summary, summary.gain) for summary in self.summaries])


def _flat(record: Run | Summary, inner: Figures | Gain | None) -> dict[str, Any]:
    """A line of CSV: intervals as two columns, the inner record's columns after the outer's, lists as text."""
    line: dict[str, Any] = {}
    inner_class = Figures if isinstance(record, Run) else Gain
    prefix = "" if isinstance(record, Run) else "gain_"
    inside = {f"{prefix}{field.name}": getattr(inner, field.name, None) for field in fields(inner_class)}
    plain = {
        field.name: getattr(record, field.name) for field in fields(record) if field.name not in ("figures", "gain")
    }
    for name, value in {**plain, **inside}.items():
        if name.endswith("interval"):
            line |= {f"{name}_low": getattr(value, "low", None), f"{name}_high": getattr(value, "high", None)}
        elif isinstance(value, Mapping):
            line |= {f"{name}_{key}": item for key, item in value.items()}
        else:
            line[name] = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return line


def _write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for line in lines for name in line))
    names = [name for name in names if name != "execution"]
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
