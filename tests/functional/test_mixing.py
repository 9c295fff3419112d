"""MixUp and CutMix against their definitions row by row, and partners of the whole batch on any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from understudy.core import distributed
from understudy.core.seeding import generator
from understudy.functional.mixing import class_probabilities, cut_boxes, cutmix, mix_with_batch, mixup, own_shares


@pytest.mark.parametrize("alpha", [0.05, 0.75, 1.0, 16.0])
def test_own_shares__the_larger_part_of_a_beta(alpha: float) -> None:
    shares = own_shares(20_000, alpha, generator("shares"))
    reference = np.random.default_rng(1).beta(alpha, alpha, 20_000)
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    assert shares.mean() == pytest.approx(np.maximum(reference, 1 - reference).mean(), abs=0.01)
    assert len(set(shares.round(6).tolist())) > 100, "each row has a share of its own"


def test_own_shares__nothing_is_mixed_at_zero() -> None:
    assert (own_shares(5, 0.0, generator("shares")) == 1).all()


def test_mixup__of_images_and_of_labels() -> None:
    images, labels = torch.rand(2, 3, 4, 5, 5), torch.rand(2, 3, 7)
    share = torch.tensor([1.0, 0.5, 0.8])
    for rows, partners in (images, labels):
        mixed = mixup(rows, partners, share)
        for row in range(3):
            expected = share[row] * rows[row] + (1 - share[row]) * partners[row]
            torch.testing.assert_close(mixed[row], expected)


def test_cut_boxes__sizes_and_clipping() -> None:
    share, centers = np.array([0.75, 0.75, 1.0, 0.5]), np.array([[0.5, 0.5], [0.0, 0.99], [0.3, 0.3], [0.5, 0.5]])
    boxes, kept = cut_boxes(share, centers, 20, 40)
    assert boxes.tolist() == [[5, 10, 15, 30], [0, 30, 5, 40], [6, 12, 6, 12], [3, 6, 17, 34]]
    assert kept.tolist() == pytest.approx([1 - 200 / 800, 1 - 50 / 800, 1.0, 1 - 14 * 28 / 800])


@given(st.floats(0.5, 1), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.integers(1, 40))
def test_cut_boxes__lie_within_the_image(share: float, row: float, column: float, size: int) -> None:
    boxes, kept = cut_boxes(np.array([share]), np.array([[row, column]]), size, size + 3)
    top, left, bottom, right = boxes[0]
    assert 0 <= top <= bottom <= size
    assert 0 <= left <= right <= size + 3
    assert 0 <= kept[0] <= 1


def test_cutmix__the_partner_inside_the_box_alone() -> None:
    rows, partners = torch.rand(2, 3, 2, 6, 8)
    boxes = torch.tensor([[1, 2, 4, 7], [0, 0, 6, 8], [3, 3, 3, 5]])
    mixed = cutmix(rows, partners, boxes)
    for image, (top, left, bottom, right) in enumerate(boxes.tolist()):
        for row in range(6):
            for column in range(8):
                source = partners if top <= row < bottom and left <= column < right else rows
                assert torch.equal(mixed[image, :, row, column], source[image, :, row, column])


def test_class_probabilities() -> None:
    assert class_probabilities(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    soft = torch.rand(4, 3)
    assert class_probabilities(soft, 3) is soft


def batch() -> tuple[list[Tensor], list[Tensor]]:
    """Views of different lengths whose pixels are all the row's number, and targets that say the number too."""
    numbers = torch.arange(20.0).split([4, 8, 8])
    views = [part[:, None, None, None].expand(-1, 1, 8, 8) for part in numbers]
    return views, [torch.stack([part, 1 - part], 1) for part in numbers]


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mix_with_batch__pixels_and_labels_in_the_same_shares(mix: str) -> None:
    views, targets = batch()
    mixed, labels = mix_with_batch(views, targets, generator("mix"), alpha=0.75, mix=mix)
    assert [len(part) for part in mixed] == [4, 8, 8]
    for images, probabilities in zip(mixed, labels, strict=True):
        torch.testing.assert_close(images.mean((1, 2, 3)), probabilities[:, 0])
        torch.testing.assert_close(probabilities.sum(1), torch.ones(len(images)))


def test_mix_with_batch__partners_come_from_every_view_once() -> None:
    views, targets = batch()
    mixed, _ = mix_with_batch(views, targets, generator("mix"), alpha=0.75)
    again = generator("mix")
    order = again.permutation(20)
    share = own_shares(20, 0.75, again)
    partners = (torch.cat(mixed)[:, 0, 0, 0].numpy() - share * np.arange(20)) / np.maximum(1 - share, 1e-9)
    clear = 1 - share > 1e-3
    np.testing.assert_allclose(partners[clear], order[clear], atol=0.02)


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
def test_mix_with_batch__small_alpha_leaves_rows_alone(alpha: float) -> None:
    views, targets = batch()
    mixed, labels = mix_with_batch(views, targets, generator("mix"), alpha=alpha)
    for before, after in zip([*views, *targets], [*mixed, *labels], strict=True):
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mix_with_batch__two_processes_mix_what_one_does(mix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    views, targets = batch()
    alone = mix_with_batch(views, targets, generator("mix"), alpha=0.75, mix=mix)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts = [[distributed.share(part) for part in side] for side in (views, targets)]
        waiting = iter([*views, *targets])  # what gathering gives, in the order in which it is asked for
        monkeypatch.setattr(distributed, "gather", lambda rows, waiting=waiting: next(waiting))
        shared = mix_with_batch(*parts, generator("mix"), alpha=0.75, mix=mix)
        for one, two in zip(alone, shared, strict=True):
            for full, part in zip(one, two, strict=True):
                torch.testing.assert_close(part, distributed.share(full))
