"""Which images are copies of which across roles: leaks into test images, labels that disagree, rows too many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids
from understudy.data.collection import Collection, Part
from understudy.data.copies import ALONE
from understudy.inspection.near_duplicates import NearDuplicates

POOL, LABELED, VALIDATION, TEST, NO_ROLE = 0, 1, 2, 3, -1
ROLES = ("pool", "labeled", "validation", "test")
"""Of copies the one in the later role is worth the most: a test image cannot be had twice, a pool image can."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows, each with another that it goes with.

    Args:
        rows: Ascending row numbers, or the likest first.
        partners: The other row of each.
        similarity: 1 for exact copies.
    """

    rows: Ids
    partners: Ids
    similarity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)


def roles_of(collection: Collection) -> NDArray[np.int8]:
    """The role that the source gives to each row, -1 for rows left out and held-out rows without a label."""
    has_label = collection.labels >= 0
    roles = np.where(has_label, LABELED, POOL)
    roles[collection.parts == Part.VALIDATION] = VALIDATION
    roles[collection.parts == Part.TEST] = TEST
    roles[(collection.parts == Part.LEFT_OUT) | ((roles >= VALIDATION) & ~has_label)] = NO_ROLE
    return roles.astype(np.int8)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Rows and the first row that each is an exact copy of, itself where there is none."""

    roles: NDArray[np.int8]
    labels: Ids
    first_copy: Ids

    @classmethod
    def of(cls, collection: Collection, roles: NDArray[np.int8]) -> Duplicates:
        """The duplicates of a collection; copies that are not known are none."""
        first_copy = np.arange(len(collection))
        copies = collection.copies
        if copies is not None and (copies != ALONE).any():
            rows = np.flatnonzero(copies != ALONE)
            _, start, group = np.unique(copies[rows], return_index=True, return_inverse=True)
            first_copy[rows] = rows[start[group]]
        return cls(roles, collection.labels, first_copy)

    @property
    def has_copy(self) -> NDArray[np.bool_]:
        """Which rows have an exact copy."""
        counts = np.bincount(self.first_copy, minlength=len(self.first_copy))
        found: NDArray[np.bool_] = counts[self.first_copy] > 1
        return found

    def best_copy(self, among: NDArray[np.bool_] | None = None) -> Ids:
        """By first row, the copy in the latest role, of equal ones the first; -1 where there is none.

        Args:
            among: Which rows may be it.
        """
        rows = np.flatnonzero(self.roles >= 0 if among is None else among)
        rows = rows[np.lexsort((-rows, self.roles[rows]))]
        found = np.full(len(self.first_copy), -1, np.int64)
        found[self.first_copy[rows]] = rows  # of repeated places the last one stays
        return found

    def exact_leaks(self) -> Pairs:
        """Rows that are exact copies of a row that judges or chooses for them."""
        best = self.best_copy()[self.first_copy]
        other = np.where(best >= 0, self.roles[best], NO_ROLE)
        rows = np.flatnonzero((self.roles >= 0) & (other >= VALIDATION) & (other > self.roles))
        return Pairs(rows, best[rows], np.ones(len(rows), np.float32))

    def near_leaks(self, near: NearDuplicates) -> Pairs:
        """Rows that are near copies, and no exact ones, of a row that judges or chooses for them; the likest first."""
        count = len(self.first_copy)
        exact = np.zeros(count, np.bool_)
        exact[self.exact_leaks().rows] = True
        partner, similarity = np.full(count, -1, np.int64), np.zeros(count, np.float32)
        for role in (VALIDATION, TEST):
            held = self.best_copy(self.roles == role)
            near_one, like = np.full(count, -1, np.int64), np.zeros(count, np.float32)
            one, other = np.concatenate([near.first, near.second]), np.concatenate([near.second, near.first])
            both = np.concatenate([near.similarity, near.similarity])
            at = np.flatnonzero(held[other] >= 0)
            at = at[np.argsort(both[at], kind="stable")]  # the likest is written last and stays
            near_one[one[at]], like[one[at]] = held[other[at]], both[at]
            near_one, like = near_one[self.first_copy], like[self.first_copy]
            leaks = (near_one >= 0) & (self.roles >= 0) & (self.roles < role) & ~exact
            partner[leaks], similarity[leaks] = near_one[leaks], like[leaks]
        rows = np.flatnonzero(partner >= 0)
        rows = rows[np.argsort(-similarity[rows], kind="stable")]
        return Pairs(rows, partner[rows], similarity[rows])

    def conflicts(self, near: NearDuplicates | None) -> Pairs:
        """Labeled rows with a copy, exact or near, that carries another label."""
        known = (self.labels >= 0) & (self.roles >= 0)
        first = self.best_copy(known)
        rows = np.flatnonzero(known)
        partner = first[self.first_copy[rows]]
        differ = self.labels[rows] != self.labels[partner]
        found = [np.stack([rows[differ], partner[differ]], 1)]
        similarity = [np.ones(int(differ.sum()), np.float32)]
        if near is not None:
            one, other = first[near.first], first[near.second]
            both = (one >= 0) & (other >= 0) & (self.labels[one] != self.labels[other])
            found.append(np.stack([one[both], other[both]], 1))
            similarity.append(near.similarity[both])
        pairs = np.concatenate(found)
        return Pairs(pairs[:, 0], pairs[:, 1], np.concatenate(similarity))

    def redundant(self, groups: Ids, among: NDArray[np.bool_], quality: NDArray[np.floating] | None = None) -> Pairs:
        """Of each group all rows but the one to keep, with that one.

        Kept is a row in the latest role, of these one with the commonest label of the group, of these the best, the
        first.

        Args:
            groups: A number for each row, -1 for rows that are in none.
            among: Which rows count.
            quality: Higher is better.
        """
        rows = np.flatnonzero((groups != ALONE) & among & (self.roles >= 0))
        quality = np.zeros(len(groups)) if quality is None else quality
        order = np.lexsort((rows, -quality[rows], -self._votes(groups, rows), -self.roles[rows], groups[rows]))
        rows = rows[order]
        first = np.concatenate([[True], np.diff(groups[rows]) != 0]) if len(rows) else np.zeros(0, np.bool_)
        kept = rows[first][np.cumsum(first) - 1]
        return Pairs(rows[~first], kept[~first], np.ones(int((~first).sum()), np.float32))

    def _votes(self, groups: Ids, rows: Ids) -> Ids:
        """How many rows of the group carry each row's label; 0 for an unlabeled one."""
        keys = np.stack([groups[rows], self.labels[rows]], 1)
        _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        votes: Ids = np.where(self.labels[rows] >= 0, counts[inverse.ravel()], 0)
        return votes
