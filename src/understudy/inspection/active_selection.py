"""Which images a person should label: spread over everything there is, and where a model is unsure once there is one.

First: the most typical image of each of as many clusters as images are wanted, as TypiClust (Hacohen, Dekel and
Weinshall, 2022, https://arxiv.org/abs/2202.02794). Next: centers of clusters in which every image weighs as much as the
model is unsure of it, after Zhdanov (2019, https://arxiv.org/abs/1901.05954), over all images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.core.seeding import generator, key
from understudy.core.types import Ids
from understudy.data.collection import Collection
from understudy.inspection.embedding import unit
from understudy.inspection.quality import flaws
from understudy.inspection.scan import scan

Rows = NDArray[np.float32]

_MAX_CANDIDATES, _MAX_LABELED, _MAX_CLUSTERS = 20_000, 5_000, 1_000
_NUM_NEIGHBORS, _SMALL_CLUSTER, _ITERATIONS = 20, 5, 50
_TWIN, _TWIN_NEIGHBOR = 0.4, 10
_ROWS_AT_ONCE = 1024
_MIN_WEIGHT = 1e-3


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows to label, the most useful first.

    Args:
        rows: Positions among the candidates.
        cluster: The cluster of each, from 1 on in the order of the selection.
        size: How many candidates each one's cluster holds.
    """

    rows: Ids
    cluster: Ids
    size: Ids


def candidates(collection: Collection, unlabeled: Ids, labeled: Ids, count: int, seed: int) -> tuple[Ids, int, int]:
    """Candidate rows of the unlabeled ones, and how many of those examined are blank, and copies of others.

    Of many unlabeled rows they are a random part: 20,000, or twice as many as are wanted.
    """
    random = generator("candidates", seed)
    copies = collection.copies
    num_copies = 0
    if copies is not None:
        group = np.where(copies[unlabeled] < 0, len(collection) + unlabeled, copies[unlabeled])
        first = np.zeros(len(unlabeled), np.bool_)
        first[np.unique(group, return_index=True)[1]] = True
        first &= ~np.isin(group, copies[labeled][copies[labeled] >= 0])
        num_copies, unlabeled = int((~first).sum()), unlabeled[first]
    unlabeled = np.sort(random.permutation(unlabeled)[: max(_MAX_CANDIDATES, 2 * count)])
    if not collection.is_images:
        return unlabeled, 0, num_copies
    is_blank = np.zeros(len(unlabeled), np.bool_)
    for start in range(0, len(unlabeled), _ROWS_AT_ONCE):
        rows = collection.rows.index_select(0, torch.from_numpy(unlabeled[start : start + _ROWS_AT_ONCE]))
        is_blank[start + flaws(scan(rows, hashes=False), None, collection.size or 0)["blank"]] = True
    return unlabeled[~is_blank], int(is_blank.sum()), num_copies


def sample_labeled(labeled: Ids, seed: int) -> Ids:
    """Labeled rows to keep away from: at most 5,000 random ones."""
    return np.sort(generator("labeled", seed).permutation(labeled)[:_MAX_LABELED])


def select_typical(features: Rows, labeled: Rows, count: int, *, seed: int = 0) -> Selection:
    """At most so many candidates: of each cluster the most typical, largest clusters first.

    Clusters that hold a labeled image come after those without; a further round takes the second of each. A cluster of
    under five images is more likely odd than typical, and waits a round. What looks the same as a labeled image or an
    earlier pick is passed over.

    Args:
        features: Of the candidates (n, d).
        labeled: Of images that are labeled already (m, d).
    """
    rows = unit(np.concatenate([features, labeled]))
    num_clusters = min(len(features), count + len(labeled), _MAX_CLUSTERS)
    cluster = _clusters(rows, num_clusters, seed)[0]
    own = cluster[: len(features)]
    sizes = np.bincount(own, minlength=num_clusters)
    waits = np.bincount(cluster[len(features) :], minlength=num_clusters) + (sizes < _SMALL_CLUSTER)
    order = [number for number in np.lexsort((-sizes, waits)) if sizes[number]]
    members = {number: _typical_first(rows, np.flatnonzero(own == number)) for number in order}
    queue = _in_rounds([(int(waits[number]), members[number]) for number in order])
    chosen = _without_twins(queue, rows, len(features), count)
    return Selection(chosen, _renumbered(own[chosen]), sizes[own[chosen]])


def select_uncertain(features: Rows, labeled: Rows, probabilities: Rows, count: int, *, seed: int = 0) -> Selection:
    """At most so many candidates: the one nearest to the center of each cluster, clusters with most doubt first.

    An image weighs one minus the margin between its two most probable classes. In trials with 50 to 300 labels of
    CIFAR-10, cats and dogs, and digits that was mostly better than margins alone or clusters of the most uncertain.

    Args:
        probabilities: The model's, of the candidates (n, k).
    """
    ranked = np.sort(probabilities.astype(np.float64), axis=1)
    doubt = 1 - (ranked[:, -1] - ranked[:, -2]) + _MIN_WEIGHT
    rows = unit(np.concatenate([features, labeled]))
    own_rows = rows[: len(features)]
    num_clusters = min(len(features), count, _MAX_CLUSTERS)
    own, centers = _clusters(own_rows, num_clusters, seed, doubt)
    totals = np.bincount(own, doubt, minlength=num_clusters)
    distance = np.square(own_rows - centers[own]).sum(1)
    members = []
    for number in np.argsort(-totals, kind="stable"):
        inside = np.flatnonzero(own == number)
        if len(inside):
            members.append((0, inside[np.argsort(distance[inside], kind="stable")]))
    chosen = _without_twins(_in_rounds(members), rows, len(features), count)
    sizes = np.bincount(own, minlength=num_clusters)
    return Selection(chosen, _renumbered(own[chosen]), sizes[own[chosen]])


def _clusters(rows: Rows, count: int, seed: int, weight: NDArray[np.float64] | None = None) -> tuple[Ids, Rows]:
    """The cluster of each row, and the clusters' centers."""
    from sklearn.cluster import KMeans

    if count >= len(rows):
        return np.arange(len(rows)), rows
    random_state = key("clusters", seed) % 2**32
    model = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=random_state)
    found: Ids = model.fit_predict(rows, sample_weight=weight).astype(np.int64)
    return found, model.cluster_centers_


def _typical_first(rows: Rows, inside: Ids) -> Ids:
    """The members of a cluster, those with the nearest 20 neighbors in it first."""
    if len(inside) < 3:
        return inside
    neighbors = min(_NUM_NEIGHBORS, len(inside) - 1)
    typical = np.empty(len(inside))
    for start in range(0, len(inside), _ROWS_AT_ONCE):
        cosines = rows[inside[start : start + _ROWS_AT_ONCE]] @ rows[inside].T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -np.inf
        nearest = -np.partition(-cosines, neighbors - 1, axis=1)[:, :neighbors]
        typical[start : start + len(nearest)] = np.sqrt(np.maximum(0, 2 - 2 * nearest)).mean(1)
    return inside[np.argsort(typical, kind="stable")]


def _in_rounds(clusters: list[tuple[int, Ids]]) -> Iterator[int]:
    """One member of each cluster a round, a cluster joining after the rounds it waits."""
    for number in range(max((wait + len(members) for wait, members in clusters), default=0)):
        for wait, members in clusters:
            if 0 <= number - wait < len(members):
                yield int(members[number - wait])


def _without_twins(queue: Iterator[int], rows: Rows, num_candidates: int, count: int) -> Ids:
    """The first of the queue, but none that looks the same as a labeled row or one before it, as long as others do not.

    Two images look the same when they are nearer than two fifths of the usual distance to the tenth neighbor: so are 9
    of 10 photos and what a change of light or light compression makes of them, and under 1 of 100 different photos.
    """
    sample = rows[:: max(1, len(rows) // _ROWS_AT_ONCE)]
    limit = 1 - (_TWIN * _usual_distance(sample, rows)) ** 2 / 2
    seen = [rows[num_candidates:]]
    chosen: list[int] = []
    passed: list[int] = []
    for row in queue:
        if any(len(block) and float((block @ rows[row]).max()) > limit for block in seen):
            passed.append(row)
            continue
        chosen.append(row)
        seen.append(rows[row : row + 1])
        if len(seen) > _NUM_NEIGHBORS:
            seen = [seen[0], np.concatenate(seen[1:])]
        if len(chosen) == count:
            break
    return np.array((chosen + passed)[:count], np.int64)


def _usual_distance(sample: Rows, rows: Rows) -> float:
    """The median distance of sampled rows to the tenth nearest, which copies of a few do not change."""
    neighbor = min(_TWIN_NEIGHBOR, len(rows) - 1)
    nearest = -np.partition(-(sample @ rows.T), neighbor, axis=1)[:, neighbor]
    return float(np.median(np.sqrt(np.maximum(0, 2 - 2 * nearest))))


def _renumbered(cluster: Ids) -> Ids:
    """The clusters' numbers from 1 on, in the order in which they occur."""
    seen: dict[int, int] = {}
    return np.array([seen.setdefault(int(one), len(seen) + 1) for one in cluster], np.int64)
