"""The equations of the pretext methods, number by number in NumPy, and networks with a fixed projection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.methods.fixed import Fixed, K
from tests.methods.paper import Rows
from tests.methods.paper_mixing import FixedOnImages, logits

WIDTH = K // 2


def matrix(outputs: int) -> Rows:
    """The weights of a projection of features."""
    return np.random.default_rng(5).normal(0, 1, (outputs, WIDTH))


def nets_with(outputs: int, *, images: bool = False, shape: tuple[int, ...] = ()) -> Fixed:
    """Fixed networks with a linear projection, whose output may be a picture."""
    linear = nn.Linear(WIDTH, outputs, bias=False)
    linear.weight.data = torch.from_numpy(matrix(outputs)).float()
    nets = FixedOnImages() if images else Fixed()
    nets.networks["projection"] = nn.Sequential(linear, nn.Unflatten(1, shape)) if shape else linear
    return nets


def projected(rows: Rows, outputs: int, factor: Rows | float, *, images: bool = False) -> Rows:
    """What these networks make of the rows; logits are scaled, and features are the first of them."""
    scaled = logits(rows, factor) if images else rows.astype(np.float64) * factor
    return scaled[:, :WIDTH] @ matrix(outputs).T


def simclr(one: Rows, other: Rows, ids: Rows, temperature: float) -> float:
    """Chen et al., equation 1 and algorithm 1; further copies of an image are left out of the sums."""
    z, image = [*one, *other], [*ids, *ids]
    n, total = len(one), 0.0

    def s(i: int, k: int) -> float:
        return float(z[i] @ z[k] / (np.linalg.norm(z[i]) * np.linalg.norm(z[k])))

    for i in range(2 * n):
        j = (i + n) % (2 * n)
        below = [k for k in range(2 * n) if k == j or image[k] != image[i]]
        total -= np.log(np.exp(s(i, j) / temperature) / sum(np.exp(s(i, k) / temperature) for k in below))
    return total / (2 * n)


def barlow_twins(one: Rows, other: Rows, redundancy: float) -> dict[str, float]:
    """Zbontar et al., equations 1 and 2, divided by the width."""
    one, other = one - one.mean(0), other - other.mean(0)
    width = one.shape[1]
    result = {"invariance": 0.0, "redundancy": 0.0}
    for i in range(width):
        for j in range(width):
            scale = np.sqrt((one[:, i] ** 2).sum()) * np.sqrt((other[:, j] ** 2).sum())
            c = sum(one[b, i] * other[b, j] for b in range(len(one))) / scale
            result["invariance" if i == j else "redundancy"] += (1 - c) ** 2 if i == j else redundancy * c**2
    return {name: value / width for name, value in result.items()}


def rotation(images: Rows, predict: Callable[[Rows], Rows]) -> float:
    """Gidaris et al., equations 2 and 3."""
    total = 0.0
    for image in images:
        for y in range(4):
            scores = predict(np.rot90(image, y, axes=(1, 2))[None])[0]
            total -= (scores - np.log(np.exp(scores).sum()))[y] / 4
    return total / len(images)


def hidden(image: Rows, mask: Rows) -> Rows:
    """The image with its masked pixels in the mean color of the others."""
    result = image.astype(np.float64).copy()
    for channel in result:
        channel[mask] = channel[~mask].mean()
    return result


def masked_image(images: Rows, masks: Rows, guess: Callable[[Rows], Rows]) -> float:
    """Xie et al., equation 1: the L1 distance over masked pixels, by their number; the guess is made in full size."""
    total, count = 0.0, 0
    for image, mask in zip(images, masks, strict=True):
        found = guess(hidden(image, mask)[None])[0]
        for channel, wanted in zip(found, image, strict=True):
            total += np.abs(channel - wanted)[mask].sum()
            count += int(mask.sum())
    return total / count


def check_gradient(term: Tensor, nets: Fixed, value: Callable[[Rows], float]) -> None:
    """The term's gradient by the networks' factor is that of the equations by finite differences."""
    (found,) = torch.autograd.grad(term, nets.factor, retain_graph=True)
    for number in range(K):
        nudge = 1e-5 * np.eye(K)[number]
        difference = (value(1 + nudge) - value(1 - nudge)) / 2e-5
        assert found[number].item() == pytest.approx(difference, rel=2e-3, abs=1e-4)
    assert found[:WIDTH].abs().min() > 1e-3, "a feature got no gradient"
