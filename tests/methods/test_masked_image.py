"""Masked images: the loss against its paper's equation, what is hidden, and the size of the guess."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.methods import paper_pretext as paper
from tests.methods.fixed import SPEC, U, step
from tests.methods.paper import Rows
from tests.methods.paper_mixing import SIDE, Pictures
from understudy.core.seeding import generator
from understudy.functional.masking import hidden_error, hide, masked_patches
from understudy.methods.masked_image import MaskedImage

PIXELS = SIDE * SIDE


def expected(case: Pictures, share: float, factor: Rows | float = 1.0) -> float:
    masks = masked_patches(generator("mask"), U, SIDE, share)[:, 0] > 0

    def guess(image: Rows) -> Rows:
        return paper.projected(image, PIXELS, factor, images=True).reshape(1, 1, SIDE, SIDE)

    return paper.masked_image(case.weak, masks, guess)


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_masked_image__equation(share: float) -> None:
    method = MaskedImage(masked_share=share, grid=SIDE)
    for seed in range(3):
        nets = paper.nets_with(PIXELS, images=True, shape=(1, SIDE, SIDE))
        loss, _ = step(method, Pictures(seed), nets=nets)
        assert loss.total.item() == pytest.approx(expected(Pictures(seed), share), rel=1e-4)
        assert nets.asked == ["logits", "projection"]


def test_masked_image__gradient() -> None:
    nets = paper.nets_with(PIXELS, images=True, shape=(1, SIDE, SIDE))
    loss, _ = step(MaskedImage(grid=SIDE), Pictures(), nets=nets)
    paper.check_gradient(loss.total, nets, lambda factor: expected(Pictures(), 0.6, factor))


@pytest.mark.parametrize(("share", "count"), [(0.0, 1), (0.25, 4), (0.6, 10), (1.0, 15)])
def test_masked_patches__as_many_in_each_picture(share: float, count: int) -> None:
    found = masked_patches(np.random.default_rng(0), 200, 4, share)
    assert found.shape == (200, 1, 4, 4)
    assert found.sum((1, 2, 3)).tolist() == [count] * 200
    assert (found.mean(0) > 0).all()
    assert len(np.unique(found.reshape(200, -1), axis=0)) > 10


def test_hide__in_the_mean_of_the_visible() -> None:
    x = torch.arange(2 * 3 * 6 * 6, dtype=torch.float32).reshape(2, 3, 6, 6)
    mask = torch.zeros(2, 1, 3, 3)
    mask[0, 0, 0, 1] = mask[1, 0, 2, 2] = 1
    found = hide(x, mask)
    for row, (top, left) in enumerate([(0, 2), (4, 4)]):
        hidden = np.zeros((6, 6), bool)
        hidden[top : top + 2, left : left + 2] = True
        np.testing.assert_allclose(found[row], paper.hidden(x[row].numpy(), hidden), rtol=1e-5)


def test_hide__says_nothing_of_what_it_hid() -> None:
    x = torch.rand(4, 3, 10, 10)
    mask = torch.from_numpy(masked_patches(np.random.default_rng(0), 4, 4, 0.5))
    other = torch.where(torch.nn.functional.interpolate(mask, (10, 10)) > 0, torch.rand_like(x), x)
    assert not torch.equal(x, other)
    torch.testing.assert_close(hide(x, mask), hide(other, mask))


def test_hidden_error__in_the_resolution_of_the_guess() -> None:
    x = torch.rand(2, 3, 8, 8)
    mask = torch.from_numpy(masked_patches(np.random.default_rng(0), 2, 2, 0.25))
    small = torch.nn.functional.avg_pool2d(x, 2)
    assert hidden_error(small, x, mask) == pytest.approx(0, abs=1e-6)
    assert hidden_error(small + 0.5, x, mask) == pytest.approx(0.5)


@pytest.mark.parametrize(("shape", "cells"), [((3, 64, 64), 16), ((1, 8, 8), 8)])
def test_masked_image__networks(shape: tuple[int, ...], cells: int) -> None:
    nets = MaskedImage().networks(nn.Linear(7, 5), replace(SPEC, shape=shape))
    assert nets.get_submodule("projection")(torch.rand(2, SPEC.feature_width)).shape == (2, shape[0], cells, cells)
