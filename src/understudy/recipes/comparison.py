"""What a comparison found: every run, and per number of labels how the methods did, by how much and how surely."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.engine.rundir import explained, write_json
from understudy.evaluation.intervals import Interval
from understudy.evaluation.paired import compare_over_seeds, mcnemar
from understudy.evaluation.ranking import Friedman, are_equal, friedman, holm, mean_interval, paired_effect, ranks
from understudy.recipes.one_run import Figures, read_predictions

Clock = Literal["cpu_s", "wall_s"]

FORMAT = 1
BASELINE = "supervised"
_MEANS = ("cpu_s", "wall_s", "steps", "mask_ratio", "pseudo_label_accuracy", "validation_accuracy")


@dataclass(frozen=True)
class Run:
    """One method with one number of labels and one seed: its figures, or the sentence that says why it has none.

    Args:
        num_labels: Labels kept; 0 is all that were given.
        folder: Below the comparison's folder.
    """

    method: str
    num_labels: int
    seed: int
    folder: str
    figures: Figures | None = None
    error: str = ""


@dataclass(frozen=True)
class Gain:
    """A method against supervised on the same labels and seeds, in accuracy.

    Args:
        interval: Of the mean difference over seeds, by Student's t; None for one seed or where all seeds differ alike.
        test: The paired t-test over seeds; of a single seed McNemar's test, which speaks of those two classifiers only.
        p_holm: The p-value corrected for all comparisons with supervised in the report.
        effect: Cohen's d of the paired differences.
    """

    num_seeds: int
    difference: float
    interval: Interval | None
    test: Literal["paired t", "McNemar"]
    p_value: float | None
    p_holm: float | None
    effect: float | None


@dataclass(frozen=True)
class Summary:
    """One method with one number of labels, over the seeds that finished; every figure is None when none did.

    Args:
        deviation: Standard deviation between seeds, which differ in label draw and initial weights; None for one.
        interval: Of the mean over seeds, by Student's t.
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


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods x numbers of labels x seeds, every run at one budget, judged by images that decided nothing.

    Args:
        methods: In the order asked for, supervised first.
        num_labels: Labels kept; 0 is all that were given.
        cost_clock: The clock that costs are compared by: the processor's, or the wall's for a device.
        is_timed: Whether the budget is a time, which matches costs, or a number of steps, which does not.
        chosen: By number of labels, the method that the validation images choose; None where there are none.
        friedman: Over the blocks of labels and seed that all its methods finished; None for fewer than 3 methods or
            2 blocks.
        ranked: The methods that the ranks speak of: those with any finished run.
    """

    methods: tuple[str, ...]
    num_labels: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: str
    cost_clock: Clock
    is_timed: bool
    judged_by: str
    runs: tuple[Run, ...]
    summaries: tuple[Summary, ...]
    chosen: Mapping[int, str | None]
    friedman: Friedman | None
    ranked: tuple[str, ...]
    notes: tuple[str, ...]
    folder: Path | None

    def summary(self, method: str, num_labels: int = 0) -> Summary:
        """How a method did with so many labels.

        Raises:
            DataError: It is not part of the comparison.
        """
        for one in self.summaries:
            if (one.method, one.num_labels) == (method, num_labels):
                return one
        raise DataError(
            f"method {method!r} with {num_labels} labels is not part of the comparison of {', '.join(self.methods)} "
            f"with {', '.join(map(str, self.num_labels))} labels"
        )

    def sentences(self) -> tuple[str, ...]:
        """What is to be said of the figures, one statement each."""
        from understudy.recipes.statements import statements

        return statements(self)

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def to_json(self) -> dict[str, Any]:
        """All of it as what `json.dumps` takes, the words included."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain |= {
            "runs": [asdict(run) for run in self.runs],
            "summaries": [asdict(one) for one in self.summaries],
            "chosen": {str(count): name for count, name in self.chosen.items()},
            "friedman": None if self.friedman is None else asdict(self.friedman),
        }
        del plain["folder"]
        return {"format": FORMAT, **plain, "sentences": list(self.sentences())}

    def save(self, folder: Path, more: Mapping[str, Any]) -> None:
        """Write `comparison.json`, `runs.csv` and `summary.csv`.

        Args:
            more: What else the JSON is to say.
        """
        write_json(folder / "comparison.json", {**self.to_json(), **more})
        _write_csv(folder / "runs.csv", [_flat(run, run.figures) for run in self.runs])
        _write_csv(folder / "summary.csv", [_flat(one, one.gain) for one in self.summaries])


def summarize(
    runs: Sequence[Run],
    methods: Sequence[str],
    num_labels: Sequence[int],
    seeds: Sequence[int],
    cost_clock: str,
    root: Path,
) -> tuple[Summary, ...]:
    """How each method did with each number of labels, with p-values corrected for all of them together.

    Args:
        root: The comparison's folder, where predictions are.
    """
    table = {(run.method, run.num_labels, run.seed): run for run in runs}
    found = []
    for count in num_labels:
        mean_ranks = dict(zip(*_mean_ranks(runs, methods, [count], seeds), strict=True))
        baseline = [table[BASELINE, count, seed] for seed in seeds]
        for method in methods:
            own = [table[method, count, seed] for seed in seeds]
            gain = None if method == BASELINE else _gain(baseline, own, root)
            found.append(_summary(own, baseline, mean_ranks.get(method), gain, cost_clock))
    return _corrected(found)


def rank_blocks(
    runs: Sequence[Run], methods: Sequence[str], num_labels: Sequence[int], seeds: Sequence[int]
) -> tuple[tuple[str, ...], Friedman | None]:
    """The methods that have ranks, and Friedman's test over all blocks of labels and seed."""
    ranked, scores = _blocks(runs, methods, num_labels, seeds)
    return ranked, friedman(scores) if len(ranked) >= 3 and len(scores) >= 2 else None


def choose(summaries: Sequence[Summary], num_labels: Sequence[int], num_seeds: int) -> dict[int, str | None]:
    """By number of labels, the method that gets most validation images right; of equals the first, supervised."""
    chosen: dict[int, str | None] = {}
    for count in num_labels:
        scores = {
            one.method: one.validation_accuracy
            for one in summaries
            if one.num_labels == count and one.validation_accuracy is not None and len(one.seeds) == num_seeds
        }
        chosen[count] = max(scores, key=lambda name: scores[name]) if scores else None
    return chosen


def _blocks(
    runs: Sequence[Run], methods: Sequence[str], num_labels: Sequence[int], seeds: Sequence[int]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The methods with any finished run, and their accuracy in every block that all of them finished."""
    accuracy = {(run.method, run.num_labels, run.seed): run.figures.accuracy for run in runs if run.figures}
    ranked = tuple(name for name in methods if any((name, n, s) in accuracy for n in num_labels for s in seeds))
    rows = [[accuracy.get((name, n, s), np.nan) for name in ranked] for n in num_labels for s in seeds]
    scores = np.array(rows, dtype=np.float64).reshape(len(rows), len(ranked))
    return ranked, scores[~np.isnan(scores).any(axis=1)]


def _mean_ranks(
    runs: Sequence[Run], methods: Sequence[str], num_labels: Sequence[int], seeds: Sequence[int]
) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    ranked, scores = _blocks(runs, methods, num_labels, seeds)
    if not len(scores):
        return ranked, (None,) * len(ranked)
    return ranked, tuple(ranks(scores).mean(0).tolist())


def _summary(
    own: Sequence[Run], baseline: Sequence[Run], mean_rank: float | None, gain: Gain | None, cost_clock: str
) -> Summary:
    done = [run for run in own if run.figures is not None]
    head = Summary(
        own[0].method,
        own[0].num_labels,
        tuple(run.seed for run in done),
        tuple(run.seed for run in own if run.figures is None),
    )
    if not done:
        return head
    figures = [run.figures for run in done if run.figures is not None]
    accuracy = np.array([one.accuracy for one in figures])
    worst = int(accuracy.argmin())
    ratios = [
        getattr(run.figures, cost_clock) / getattr(other.figures, cost_clock)
        for run, other in zip(own, baseline, strict=True)
        if run.figures and other.figures
    ]
    means: dict[str, Any] = {name: _mean([getattr(one, name) for one in figures]) for name in _MEANS}
    return replace(
        head,
        accuracy=float(accuracy.mean()),
        deviation=float(accuracy.std(ddof=1)) if len(done) > 1 else None,
        interval=_share_interval(accuracy),
        worst=float(accuracy[worst]),
        worst_seed=done[worst].seed,
        balanced_accuracy=_mean([one.balanced_accuracy for one in figures]),
        mean_rank=mean_rank,
        gain=gain,
        cost_ratio=_mean(ratios),
        **means,
    )


def _gain(baseline: Sequence[Run], own: Sequence[Run], root: Path) -> Gain | None:
    """The method against supervised over the seeds that both finished."""
    pairs = [(one, two) for one, two in zip(baseline, own, strict=True) if one.figures and two.figures]
    if not pairs:
        return None
    first = [one.figures.accuracy for one, _ in pairs if one.figures]
    second = [two.figures.accuracy for _, two in pairs if two.figures]
    differences = np.array(second) - np.array(first)
    mean = float(differences.mean())
    if len(pairs) == 1:
        labels, before = read_predictions(root / pairs[0][0].folder)
        after = read_predictions(root / pairs[0][1].folder)[1]
        gains, losses = ((after == labels) & (before != labels)).sum(), ((after != labels) & (before == labels)).sum()
        return Gain(1, mean, None, "McNemar", mcnemar(int(gains), int(losses)), None, None)
    if are_equal(differences):
        return Gain(len(pairs), mean, None, "paired t", 1.0 if abs(mean) < 1e-12 else None, None, None)
    found = compare_over_seeds(first, second)
    return Gain(len(pairs), mean, found.interval, "paired t", found.p_value, None, paired_effect(first, second))


def _corrected(found: Sequence[Summary]) -> tuple[Summary, ...]:
    """The summaries with Holm's p-values, all comparisons with supervised being one family."""
    tested = [at for at, one in enumerate(found) if one.gain is not None and one.gain.p_value is not None]
    adjusted = holm([found[at].gain.p_value for at in tested])  # type: ignore[union-attr,misc]
    result = list(found)
    for at, value in zip(tested, adjusted, strict=True):
        gain = found[at].gain
        assert gain is not None
        result[at] = replace(found[at], gain=replace(gain, p_holm=value))
    return tuple(result)


def _share_interval(accuracy: NDArray[np.float64]) -> Interval | None:
    """Student's interval, cut to what an accuracy can be."""
    found = mean_interval(accuracy)
    return found and Interval(max(0.0, found.low), min(1.0, found.high), found.level)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _flat(one: Run | Summary, inner: Figures | Gain | None) -> dict[str, Any]:
    """A line of CSV: intervals as two columns, the inner record's columns after the outer's, lists as text."""
    line: dict[str, Any] = {}
    kind = Figures if isinstance(one, Run) else Gain
    prefix = "" if isinstance(one, Run) else "gain_"
    inside = {f"{prefix}{field.name}": getattr(inner, field.name, None) for field in fields(kind)}
    plain = {field.name: getattr(one, field.name) for field in fields(one) if field.name not in ("figures", "gain")}
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
    temporary = path.with_name(path.name + ".tmp")
    with explained(path.parent):
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(lines)
        os.replace(temporary, path)
