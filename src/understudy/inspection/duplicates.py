"""Duplicates across roles: leaks of held-out images, conflicting labels, redundant rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids
from understudy.data.collection import Collection, Part
from understudy.data.copies import ALONE
from understudy.inspection.near_duplicates import NearDuplicates

POOL, LABELED, VALIDATION, TEST, NO_ROLE = 0, 1, 2, 3, -1  # ascending in value; see `ROLES`
ROLES = ("pool", "labeled", "validation", "test")
"""Of several copies the one in the latest role is kept: a test image cannot be replaced, a pool image can."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows, each with its partner.

    Args:
        rows: Row numbers, ascending or most similar first.
        partners: The other row of each.
        similarity: 1 for exact copies.
    """

    rows: Ids
    partners: Ids
    similarity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)


def roles_of(collection: Collection) -> NDArray[np.int8]:
    """Each row's role by its source; -1 for rows left out and for held-out rows without a label."""
    has_label = collection.labels >= 0
    roles = np.where(has_label, LABELED, POOL)
    roles[collection.parts == Part.VALIDATION] = VALIDATION
    roles[collection.parts == Part.TEST] = TEST
    roles[(collection.parts == Part.LEFT_OUT) | ((roles >= VALIDATION) & ~has_label)] = NO_ROLE
    return roles.astype(np.int8)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """For each row the first row with the same content, which is the row itself where it has no copy."""

    roles: NDArray[np.int8]
    labels: Ids
    first_copy: Ids

    @classmethod
    def of(cls, collection: Collection, roles: NDArray[np.int8]) -> Duplicates:
        """The duplicates of a collection, by the exact copies it knows."""
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
        has_copy: NDArray[np.bool_] = counts[self.first_copy] > 1
        return has_copy

    def best_copy(self, among: NDArray[np.bool_] | None = None) -> Ids:
        """For each first copy, its copy in the latest role (the first among equals); -1 for other rows.

        Args:
            among: Mask of the rows that qualify; those with a role by default.
        """
        rows = np.flatnonzero(self.roles >= 0 if among is None else among)
        rows = rows[np.lexsort((-rows, self.roles[rows]))]
        best = np.full(len(self.first_copy), -1, np.int64)
        best[self.first_copy[rows]] = rows  # of repeated indices the last assignment stays
        return best

    def exact_leaks(self) -> Pairs:
        """Rows that are exact copies of a row in a later, held-out role."""
        best = self.best_copy()[self.first_copy]
        other = np.where(best >= 0, self.roles[best], NO_ROLE)
        rows = np.flatnonzero((self.roles >= 0) & (other >= VALIDATION) & (other > self.roles))
        return Pairs(rows, best[rows], np.ones(len(rows), np.float32))

    def near_leaks(self, near: NearDuplicates) -> Pairs:
        """Rows that are near but not exact copies of a row in a later, held-out role; most similar first."""
        count = len(self.first_copy)
        exact = np.zeros(count, np.bool_)
        exact[self.exact_leaks().rows] = True
        partner, similarity = np.full(count, -1, np.int64), np.zeros(count, np.float32)
        for role in (VALIDATION, TEST):
            held = self.best_copy(self.roles == role)
            leaked, like = np.full(count, -1, np.int64), np.zeros(count, np.float32)
            row, other = np.concatenate([near.first, near.second]), np.concatenate([near.second, near.first])
            both = np.concatenate([near.similarity, near.similarity])
            at = np.flatnonzero(held[other] >= 0)
            at = at[np.argsort(both[at], kind="stable")]  # the most similar is written last and stays
            leaked[row[at]], like[row[at]] = held[other[at]], both[at]
            # Pairs hold the first of exact copies only; all its copies leak with it.
            leaked, like = leaked[self.first_copy], like[self.first_copy]
            leaks = (leaked >= 0) & (self.roles >= 0) & (self.roles < role) & ~exact
            partner[leaks], similarity[leaks] = leaked[leaks], like[leaks]
        rows = np.flatnonzero(partner >= 0)
        rows = rows[np.argsort(-similarity[rows], kind="stable")]
        return Pairs(rows, partner[rows], similarity[rows])

    def conflicts(self, near: NearDuplicates | None) -> Pairs:
        """Labeled rows with an exact or near copy that has a different label."""
        known = (self.labels >= 0) & (self.roles >= 0)
        first = self.best_copy(known)
        rows = np.flatnonzero(known)
        partner = first[self.first_copy[rows]]
        differ = self.labels[rows] != self.labels[partner]
        parts = [np.stack([rows[differ], partner[differ]], 1)]
        similarity = [np.ones(int(differ.sum()), np.float32)]
        if near is not None:
            left, right = first[near.first], first[near.second]
            both = (left >= 0) & (right >= 0) & (self.labels[left] != self.labels[right])
            parts.append(np.stack([left[both], right[both]], 1))
            similarity.append(near.similarity[both])
        pairs = np.concatenate(parts)
        return Pairs(pairs[:, 0], pairs[:, 1], np.concatenate(similarity))

    def redundant(self, groups: Ids, among: NDArray[np.bool_], quality: NDArray[np.floating] | None = None) -> Pairs:
        """All rows of each group but the one to keep, each with that one as its partner.

        The row to keep is in the latest role; ties go to the most common label of the group, then to the highest
        quality, then to the first row.

        Args:
            groups: Each row's group, -1 for none.
            among: Mask of the rows to compare.
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
        """The number of rows of the group with the same label; 0 for an unlabeled row."""
        keys = np.stack([groups[rows], self.labels[rows]], 1)
        _, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        votes: Ids = np.where(self.labels[rows] >= 0, counts[inverse.ravel()], 0)
        return votes
