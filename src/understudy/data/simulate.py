"""Hide labels of a labeled collection, long-tailed if requested, to measure what fewer labels achieve."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import ConfigError, DataError, nearest
from understudy.core.seeding import generator
from understudy.core.types import Ids
from understudy.data.collection import UNLABELED, Collection, Part

Floats = NDArray[np.float64]
Order = Literal["same", "reversed"]
ORDERS: tuple[str, ...] = get_args(Order)


@dataclass(frozen=True, eq=False)
class HiddenLabels:
    """The vault: labels that training cannot read, for diagnostics alone."""

    _ids: Ids = field(repr=False)
    _labels: Ids = field(repr=False)

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, ids: Ids) -> Ids:
        """The true class of each row, -1 where it was not hidden here."""
        found = np.full(len(ids), UNLABELED, np.int64)
        if len(self._ids):
            at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            hidden = self._ids[at] == ids
            found[hidden] = self._labels[at[hidden]]
        return found

    def accuracy(self, ids: Ids, labels: Ids) -> float:
        """The share of the rows hidden here whose given label is true; NaN when none of them is."""
        true = self.of(ids)
        hidden = true >= 0
        return float((true[hidden] == np.asarray(labels)[hidden]).mean()) if hidden.any() else float("nan")


def simulate(
    collection: Collection,
    num_labels: int,
    seed: int = 0,
    *,
    imbalance: float = 0.0,
    num_unlabeled: int = 0,
    unlabeled_imbalance: float = 0.0,
    unlabeled_order: Order = "same",
) -> tuple[Collection, HiddenLabels]:
    """The collection with the requested number of training labels, and the hidden labels.

    A ratio gamma makes class counts fall exponentially: of K classes the k-th gets N_1 gamma^(-(k - 1) / (K - 1))
    images, the first class being the head, as in the literature (DARP, 2007.08844; ABC, 2110.10368). Each class keeps
    at least one image of each kind. The counts depend on no seed, the images do. Training images beyond the counts are
    left out; test and validation images and their labels stay as they are.

    CIFAR-10-LT with N_1 = 1500 and M_1 = 3000 and ratio 100 is `num_labels=3720, imbalance=100, num_unlabeled=7443,
    unlabeled_imbalance=100`; the field's gamma_u = 1/100 is the same with `unlabeled_order="reversed"`.

    Args:
        num_labels: Labels to keep, of all classes together.
        imbalance: Ratio of the largest to the smallest class among the labels; 1 is uniform, 0 as in the data.
        num_unlabeled: Images in the unlabeled pool; 0 is the most that the counts allow.
        unlabeled_imbalance: Ratio in the pool; 1 is uniform, 0 takes what the labels leave, as it comes.
        unlabeled_order: Whether the pool's largest class is the labels' largest or their smallest.

    Raises:
        ConfigError: The options contradict each other, or a ratio is below 1.
        DataError: A class has fewer images than asked for, or the pool's counts are set and its classes not known.
    """
    check_simulation(num_labels, imbalance, num_unlabeled, unlabeled_imbalance, unlabeled_order)
    training = np.isin(collection.parts, (Part.FREE, Part.TRAIN, Part.PSEUDO))
    ids = np.flatnonzero(training & (collection.labels >= 0))
    used, labels = np.unique(collection.labels[ids], return_inverse=True)
    counts, names = np.bincount(labels), [collection.classes[number] for number in used]
    check_num_labels(num_labels, len(used), len(ids))
    pool_is_chosen = num_unlabeled > 0 or unlabeled_imbalance > 0
    if pool_is_chosen and (unknown := int((training & (collection.labels < 0)).sum())):
        raise DataError(
            f"{unknown:,} of the training images have no label, so a pool cannot be chosen from them by class; "
            "give labeled images alone, or leave num_unlabeled and unlabeled_imbalance out"
        )
    random = generator("simulate", seed)
    tie = random.random(len(collection.classes))[used]
    if imbalance:
        labeled = _long_tail("labels", num_labels, imbalance, counts, names)
    else:
        labeled = _apportion(counts, num_labels, counts, tie=tie)
    pool = counts - labeled
    if unlabeled_imbalance:
        pool = _pool(num_unlabeled, unlabeled_imbalance, pool, names, is_reversed=unlabeled_order == "reversed")
    elif num_unlabeled:
        pool = _pool_in_proportion(num_unlabeled, pool, tie)
    note = f"{num_labels:,} of {len(ids):,} training labels are kept: "
    note += _spread("labels", labeled, imbalance)
    if pool_is_chosen:
        note += f", {_spread('pool', pool, unlabeled_imbalance, order=unlabeled_order)}"
    if out := int((counts - labeled - pool).sum()):
        note += f"; {out:,} {'image' if out == 1 else 'images'} left out"
    return _hide(replace(collection, notes=(*collection.notes, note)), ids, labels, labeled, pool, random)


def revealed(collection: Collection, hidden: HiddenLabels) -> Collection:
    """The collection that `simulate` returned, with the labels that it hid."""
    true = hidden.of(np.arange(len(collection)))
    labels = np.where(true >= 0, true, collection.labels)
    content = hashlib.blake2b(collection.content.encode() + labels.tobytes(), digest_size=16).hexdigest()
    return replace(collection, labels=labels, content=content)


def check_num_labels(num_labels: int, num_classes: int, available: int) -> None:
    """Validate a number of labels to keep.

    Raises:
        DataError: There are fewer than one per class, or more than there are.
    """
    if not num_classes <= num_labels <= available:
        raise DataError(
            f"{num_labels} labels cannot be kept: give a number from {num_classes}, one per class, "
            f"to {available}, the labels of the training images"
        )


def check_simulation(
    num_labels: int, imbalance: float, num_unlabeled: int, unlabeled_imbalance: float, unlabeled_order: str
) -> None:
    """Validate the options of `simulate`; possible before any image is read.

    Raises:
        ConfigError: They do not.
    """
    for name, ratio in (("imbalance", imbalance), ("unlabeled_imbalance", unlabeled_imbalance)):
        if ratio != 0 and not 1 <= ratio < math.inf:
            reverse = "; for a pool in reversed order set unlabeled_order" if name == "unlabeled_imbalance" else ""
            raise ConfigError(
                f"{name} is {ratio:g}; give the largest class as a multiple of the smallest, at least 1, "
                f"or 0 to keep the classes as the data have them{reverse}"
            )
    if num_unlabeled < 0:
        raise ConfigError(f"num_unlabeled is {num_unlabeled}; give a number of images, or 0 for all that can be had")
    if unlabeled_order not in ORDERS:
        raise ConfigError(f"unlabeled_order is {unlabeled_order!r}; {nearest(unlabeled_order, ORDERS)}")
    if unlabeled_order == "reversed" and not unlabeled_imbalance:
        raise ConfigError("unlabeled_order is 'reversed' without a ratio to reverse; set unlabeled_imbalance too")
    if not num_labels and (imbalance or num_unlabeled or unlabeled_imbalance):
        raise ConfigError(
            "imbalance, unlabeled_imbalance and num_unlabeled choose which labels to hide, and all are kept; "
            "say with num_labels how many are not to be hidden"
        )


def _hide(
    collection: Collection, ids: Ids, labels: Ids, labeled: Ids, pool: Ids, random: np.random.Generator
) -> tuple[Collection, HiddenLabels]:
    """The collection with so many random rows of each class labeled, so many hidden, and the others left out.

    Args:
        labels: The class of each of the `ids`, as an index into `labeled` and `pool`.
    """
    shuffled = random.permutation(len(ids))
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    ordered = labels[shuffled]
    rank = np.arange(len(ids)) - np.searchsorted(ordered, ordered)
    is_kept, is_trained_on = rank < labeled[ordered], rank < (labeled + pool)[ordered]
    hidden = np.sort(ids[shuffled[is_trained_on & ~is_kept]])
    vault = HiddenLabels(hidden, collection.labels[hidden])
    left, parts = collection.labels.copy(), collection.parts.copy()
    left[ids[shuffled[~is_kept]]] = UNLABELED
    parts[ids[shuffled[~is_trained_on]]] = Part.LEFT_OUT
    text = collection.content.encode() + left.tobytes() + parts.tobytes()
    content = hashlib.blake2b(text, digest_size=16).hexdigest()
    return replace(collection, labels=left, parts=parts, content=content), vault


def _tail(ratio: float, num_classes: int) -> Floats:
    """Each class's share relative to the first, falling exponentially to 1 / ratio."""
    return np.asarray(float(ratio) ** -np.linspace(0, 1, num_classes))


def _long_tail(what: str, total: int, ratio: float, counts: Ids, names: list[str], *, is_reversed: bool = False) -> Ids:
    """Long-tailed whole numbers that sum to the total, none of which is over its count."""

    def numbers(total: int, ratio: float) -> Ids:
        from_head = _apportion(_tail(ratio, len(counts)), total)
        return from_head[::-1] if is_reversed else from_head

    def misfit(total: int, ratio: float) -> bool:
        return bool(np.any(numbers(total, ratio) > counts))

    found = numbers(total, ratio)
    if not misfit(total, ratio):
        return found
    worst = int(np.argmax(found / counts))
    most = _last(range(len(counts), total), lambda fewer: misfit(fewer, ratio))
    flatter = _last(range(1, math.ceil(ratio)), lambda lower: misfit(total, lower))
    advice = f"ask for at most {most:,}" + (f", or for a ratio of at most {flatter:,}" if flatter else "")
    there = "there are" if what == "labels" else "the labels leave"
    raise DataError(
        f"{total:,} {what} with a ratio of {ratio:g} need {found[worst]:,} images of class {names[worst]!r}, "
        f"of which {there} {counts[worst]:,}; {advice}"
    )


def _pool(total: int, ratio: float, left: Ids, names: list[str], *, is_reversed: bool) -> Ids:
    """How many images of each class are unlabeled: so many of them, or as many as a tail of that ratio can have."""
    if not left.all():
        name = names[int(np.argmin(left))]
        raise DataError(f"all images of class {name!r} keep their label and none is left for the pool; ask for fewer")
    if total:
        if total < len(left):
            raise DataError(f"a pool of {total} has no image of some class; ask for at least {len(left)}")
        return _long_tail("unlabeled images", total, ratio, left, names, is_reversed=is_reversed)
    weights = _tail(ratio, len(left))
    weights = weights[::-1] if is_reversed else weights
    largest = (left / weights).min()
    found: Ids = np.maximum(1, np.rint(largest * weights)).astype(np.int64)
    return found


def _pool_in_proportion(total: int, left: Ids, tie: Floats) -> Ids:
    """How many images of each class are unlabeled, in proportion to what the labels leave."""
    if total > left.sum():
        raise DataError(f"a pool of {total:,} was asked for, and the labels leave {left.sum():,} images; ask for fewer")
    return _apportion(left, total, left, least=0, tie=tie)


def _apportion(
    weights: NDArray[np.number], total: int, most: Ids | None = None, *, least: int = 1, tie: Floats | None = None
) -> Ids:
    """Whole numbers that sum to the total, in proportion to the weights as far as their limits allow.

    Args:
        most: Largest number of each class, without which the total is the limit.
        tie: Of equal remainders that of the smaller number is rounded up first; without it that of the earlier class.
    """
    most = np.full(len(weights), total) if most is None else most
    lowest = np.minimum(least, most)
    assert lowest.sum() <= total <= most.sum()
    low, high = 0.0, total / float(weights[weights > 0].min())
    for _ in range(100):  # halvings leave nothing of the interval that a float could tell
        scale = (low + high) / 2
        short = np.clip(scale * weights, lowest, most).sum() < total
        low, high = (scale, high) if short else (low, scale)
    ideal = np.clip(high * weights, lowest, most)
    whole: Ids = np.floor(ideal + 1e-9).astype(np.int64)
    order = np.lexsort((np.arange(len(weights)) if tie is None else tie, -np.round(ideal - whole, 9)))
    order = order[(whole < most)[order]]
    whole[order[: total - whole.sum()]] += 1
    assert whole.sum() == total
    return whole


def _last(numbers: range, is_too_much: Callable[[int], bool]) -> int | None:
    """The number before the first that is too much, by bisection; None when even the first is."""
    at = bisect_left(numbers, True, key=is_too_much)
    return numbers[at - 1] if at else None


def _spread(what: str, counts: Ids, asked: float, *, order: Order | None = None) -> str:
    """The largest and smallest class, and the ratio achieved for the one requested."""
    high, low = int(counts.max()), int(counts.min())
    if high == low:
        return f"{what} per class {high:,}"
    text = f"{what} per class {high:,} to {low:,}"
    if not asked:
        return text
    ratio = high / low
    details = [f"ratio {_decimal(ratio)}"]
    if abs(ratio / asked - 1) > 0.05:
        details.append(f"{_decimal(asked)} before rounding")
    if order is not None:
        details.append(f"{order} order")
    return f"{text} ({', '.join(details)})"


def _decimal(number: float) -> str:
    return f"{number:,.1f}".removesuffix(".0")
