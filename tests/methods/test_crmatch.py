"""CR-Match against its paper's terms on fixed logits, projection and rotation head, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.methods import paper
from tests.methods.fixed import SPEC, Case, Fixed, K, U, step, terms
from tests.methods.paper_embeddings import unit
from understudy.methods.crmatch import CRMatch

SIDE = 2  # images of 2 x 2 pixels, of which the networks see the first K of 4 values and a constant
MU = 3


class Images(Case):
    """A case whose rows of K values are images of one channel, 2 x 2, for the networks to read as rows again."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        for name in ("labeled", "weak", "strong", "weak1"):
            setattr(self, name, getattr(self, name)[:, :4].reshape(-1, 1, SIDE, SIDE))


def read(images: Any) -> Any:
    """The K logits of an image: its pixels and 0."""
    rows = images.reshape(len(images), SIDE * SIDE)
    zeros = rows[:, :1] * 0
    return torch.cat([rows, zeros], 1) if isinstance(rows, Tensor) else np.concatenate([rows, zeros], 1)


class OfImages(Fixed):
    """Fixed networks that read images, and know how many were seen while running statistics were held still."""

    still, seen_still = False, 0

    def logits(self, *views: Tensor) -> tuple[Tensor, ...]:
        self.seen_still += self.still * sum(len(view) for view in views)
        return super().logits(*(read(view) for view in views))

    @contextmanager
    def still_statistics(self) -> Iterator[None]:
        self.still = True
        yield
        self.still = False

    def predict(self, x: Tensor, *, by: str = "ema") -> Tensor:
        return super().predict(read(x), by=by)


def networks() -> OfImages:
    torch.manual_seed(1)
    return OfImages(projection=nn.Linear(K // 2, 3), rotation=nn.Linear(K // 2, 4))


def through(nets: Fixed, name: str, logits: Any) -> Any:
    with torch.no_grad():
        return nets.networks[name](torch.from_numpy(np.float32(logits[:, : K // 2]))).numpy()


def expected(case: Images, nets: Fixed, scale: float, threshold: float) -> dict[str, float]:
    """The terms, each by its sum over rows."""
    weak, strong = scale * read(case.weak), read(case.strong)
    z_weak, z_strong = (through(nets, "projection", rows) for rows in (weak, strong))
    distance = 0.0
    for q, near, far in zip(paper.softmax(weak), z_weak, z_strong, strict=True):
        if q.max() >= threshold:
            distance += max(0.0, float(unit(near) @ unit(far)))
    rotation, shown = 0.0, case.weak1[::MU]
    for image in shown:
        for turn in range(4):
            logits = through(nets, "rotation", read(np.rot90(image, turn, axes=(1, 2))[None]))[0]
            rotation += paper.cross_entropy(paper.one_hot(turn, 4), logits)
    return {
        "supervised": paper.supervised(read(case.labeled), case.labels, case.weight),
        "unsupervised": paper.fixmatch(weak, strong, threshold),
        "distance": distance / U,
        "rotation": rotation / (4 * len(shown)),
    }


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
def test_crmatch(threshold: float, teacher: str, scale: float) -> None:
    weights = {"unsupervised": 0.7, "distance": 0.4, "rotation": 0.3}
    tested = CRMatch(
        threshold=threshold, teacher=teacher, mu=MU, lambda_u=0.7, lambda_d=weights["distance"], lambda_r=0.3
    )
    case, nets = Images(), networks()
    loss, _ = step(tested, case, nets=nets)
    wanted = {name: weights.get(name, 1.0) * value for name, value in expected(case, nets, scale, threshold).items()}
    assert terms(loss) == pytest.approx(wanted, rel=1e-4, abs=1e-7)
    assert (wanted["distance"] > 0) == (threshold < 1)
    assert nets.seen_still == 4 * len(case.weak1[::MU])


@pytest.mark.parametrize("teacher", ["ema", "concat"])
def test_crmatch__distance_moves_the_trained_views(teacher: str) -> None:
    case, nets, reference = Images(), networks(), networks()
    loss, _ = step(CRMatch(threshold=0.6, teacher=teacher, mu=MU), case, nets=nets)
    weak, strong = (torch.from_numpy(read(rows)) for rows in (case.weak, case.strong))
    counts = weak.softmax(-1).max(-1).values >= 0.6
    seen = weak * reference.factor if teacher == "concat" else weak
    z = [reference.networks["projection"](x[:, : K // 2]) for x in (seen, strong * reference.factor)]
    distance = (counts * nn.functional.cosine_similarity(*z).clamp(min=0)).sum() / U
    wanted = [reference.factor, *reference.networks["projection"].parameters()]
    expected_gradient = torch.autograd.grad(distance, wanted)
    found = torch.autograd.grad(loss.terms["distance"], [nets.factor, *nets.networks["projection"].parameters()])
    for one, other in zip(found, expected_gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_crmatch__pseudo_labels_carry_no_gradient() -> None:
    case, nets = Images(), networks()
    loss, _ = step(CRMatch(threshold=0.6, teacher="concat", mu=MU), case, nets=nets)
    (found,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
    slope = np.zeros(K)
    for q, row in zip(paper.softmax(read(case.weak)), read(case.strong), strict=True):
        if q.max() >= 0.6:
            slope += (paper.softmax(row[None])[0] - paper.one_hot(int(q.argmax()), K)) * row / U
    np.testing.assert_allclose(found.numpy(), slope, rtol=1e-3, atol=1e-6)


def test_networks__widths() -> None:
    nets = CRMatch().networks(nn.Linear(7, K), SPEC)
    x = torch.randn(3, SPEC.feature_width)
    assert nets.projection(x).shape == (3, SPEC.feature_width)
    assert nets.rotation(x).shape == (3, 4)
