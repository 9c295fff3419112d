"""Active selection of the images to label: typical ones first, uncertain ones once there is a model.

Without a model: the most typical image of each of as many clusters as images are wanted, as in TypiClust (Hacohen,
Dekel and Weinshall, 2022, https://arxiv.org/abs/2202.02794). With a model: the centers of clusters of all images, each
weighted by the uncertainty of the model, after Zhdanov (2019, https://arxiv.org/abs/1901.05954).
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

_MAX_CANDIDATES, _MAX_LABELED, _MAX_CLUSTERS = 20_000, 5_000, 1_000  # bound the time of k-means and of its features
_NUM_NEIGHBORS, _SMALL_CLUSTER = 20, 5  # of the paper: neighbors that typicality averages, and clusters it leaves out
_ITERATIONS = 50  # of k-means: the last ones move few images
_TWIN, _TWIN_NEIGHBOR = 0.4, 10  # share of the median distance to the tenth neighbor; see `_without_twins`
_ROWS_AT_ONCE = 1024  # a block of similarities to 20,000 rows takes 80 MB
_NUM_RECENT = 20  # selected rows that are compared one by one, until they are merged into one block
_MIN_WEIGHT = 1e-3  # keeps images of which the model is certain in the clustering


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows to label, most useful first.

    Args:
        rows: Positions among the candidates.
        cluster: The cluster of each row, numbered from 1 in the order of the selection.
        size: Number of candidates in that cluster.
    """

    rows: Ids
    cluster: Ids
    size: Ids


def candidates(collection: Collection, unlabeled: Ids, labeled: Ids, count: int, seed: int) -> tuple[Ids, int, int]:
    """Candidate rows among the unlabeled ones, and the numbers of blank images and of copies left out.

    Many unlabeled rows are sampled: 20,000 of them, or twice as many as are wanted.
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
    """A random sample of at most 5,000 labeled rows, which the selection avoids."""
    return np.sort(generator("labeled", seed).permutation(labeled)[:_MAX_LABELED])


def select_typical(features: Rows, labeled: Rows, count: int, *, seed: int = 0) -> Selection:
    """Up to `count` candidates: the most typical one of each cluster, largest clusters first.

    Clusters with a labeled image come after those without; a second round takes the second image of each. A cluster of
    fewer than five images is more likely odd than typical, and waits a round. Images that look the same as a labeled or
    an already selected one are skipped.

    Args:
        features: Features of the candidates (n, d).
        labeled: Features of images that are already labeled (m, d).
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
    selected = _without_twins(queue, rows, len(features), count)
    return Selection(selected, _renumbered(own[selected]), sizes[own[selected]])


def select_uncertain(features: Rows, labeled: Rows, probabilities: Rows, count: int, *, seed: int = 0) -> Selection:
    """Up to `count` candidates: the one nearest to the center of each cluster, most uncertain clusters first.

    An image is weighted by one minus the margin between its two most probable classes. In trials with 50 to 300 labels
    of CIFAR-10, cats and dogs, and digits this mostly beat margins alone and clusters of the most uncertain images.

    Args:
        probabilities: Class probabilities of the candidates by the model (n, k).
    """
    ranked = np.sort(probabilities.astype(np.float64), axis=1)
    uncertainty = 1 - (ranked[:, -1] - ranked[:, -2]) + _MIN_WEIGHT
    rows = unit(np.concatenate([features, labeled]))
    own_rows = rows[: len(features)]
    num_clusters = min(len(features), count, _MAX_CLUSTERS)
    own, centers = _clusters(own_rows, num_clusters, seed, uncertainty)
    totals = np.bincount(own, uncertainty, minlength=num_clusters)
    distance = np.square(own_rows - centers[own]).sum(1)
    members = []
    for number in np.argsort(-totals, kind="stable"):
        inside = np.flatnonzero(own == number)
        if len(inside):
            members.append((0, inside[np.argsort(distance[inside], kind="stable")]))
    selected = _without_twins(_in_rounds(members), rows, len(features), count)
    sizes = np.bincount(own, minlength=num_clusters)
    return Selection(selected, _renumbered(own[selected]), sizes[own[selected]])


def _clusters(rows: Rows, count: int, seed: int, weight: NDArray[np.float64] | None = None) -> tuple[Ids, Rows]:
    """The cluster of each row, and the centers."""
    from sklearn.cluster import KMeans

    if count >= len(rows):
        return np.arange(len(rows)), rows
    random_state = key("clusters", seed) % 2**32
    model = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=random_state)
    cluster: Ids = model.fit_predict(rows, sample_weight=weight).astype(np.int64)
    return cluster, model.cluster_centers_


def _typical_first(rows: Rows, inside: Ids) -> Ids:
    """The members of a cluster, smallest mean distance to their 20 nearest neighbors in it first."""
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
    """One member of each cluster per round; a cluster joins after the rounds it waits."""
    for number in range(max((wait + len(members) for wait, members in clusters), default=0)):
        for wait, members in clusters:
            if 0 <= number - wait < len(members):
                yield int(members[number - wait])


def _without_twins(queue: Iterator[int], rows: Rows, num_candidates: int, count: int) -> Ids:
    """The first `count` rows of the queue, where rows that look the same as a labeled or an earlier row come last.

    Two images look the same when their distance is below two fifths of the median distance to the tenth neighbor. That
    holds for 9 of 10 photos and copies of them in other light or lightly compressed, and for under 1 % of different
    photos.
    """
    sample = rows[:: max(1, len(rows) // _ROWS_AT_ONCE)]
    limit = 1 - (_TWIN * _usual_distance(sample, rows)) ** 2 / 2
    seen = [rows[num_candidates:]]
    selected: list[int] = []
    skipped: list[int] = []
    for row in queue:
        if any(len(block) and float((block @ rows[row]).max()) > limit for block in seen):
            skipped.append(row)
            continue
        selected.append(row)
        seen.append(rows[row : row + 1])
        if len(seen) > _NUM_RECENT:
            seen = [seen[0], np.concatenate(seen[1:])]
        if len(selected) == count:
            break
    return np.array((selected + skipped)[:count], np.int64)


def _usual_distance(sample: Rows, rows: Rows) -> float:
    """The median distance of sampled rows to their tenth neighbor, which a few copies do not change."""
    neighbor = min(_TWIN_NEIGHBOR, len(rows) - 1)
    nearest = -np.partition(-(sample @ rows.T), neighbor, axis=1)[:, neighbor]
    return float(np.median(np.sqrt(np.maximum(0, 2 - 2 * nearest))))


def _renumbered(cluster: Ids) -> Ids:
    """The clusters numbered from 1 in order of first occurrence."""
    seen: dict[int, int] = {}
    return np.array([seen.setdefault(int(number), len(seen) + 1) for number in cluster], np.int64)
