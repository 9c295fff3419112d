"""FlexMatch against its paper's equations on fixed logits, over steps that share images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.methods import paper, paper_thresholds
from tests.methods.fixed import SPEC, Case, K, U, step, terms
from understudy.core.types import Batch
from understudy.methods.flexmatch import FlexMatch

POOL = 14


class Drawn(Case):
    """A case whose unlabeled rows are drawn from a pool, some of them twice."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.images = np.random.default_rng(seed + 100).integers(0, POOL, U)
        self.images[-1] = self.images[0]

    def batch(self) -> Batch:
        batch = super().batch()
        return replace(batch, unlabeled=replace(batch.unlabeled, ids=torch.from_numpy(self.images)))


@pytest.mark.parametrize("warm_up", [True, False])
@pytest.mark.parametrize("mapping", ["convex", "linear", "concave"])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
def test_flexmatch__over_steps(mapping: str, warm_up: bool, teacher: str, scale: float) -> None:
    method = FlexMatch(mapping=mapping, threshold_warm_up=warm_up, teacher=teacher, threshold=0.8, lambda_u=0.7)
    memory = method.memory(replace(SPEC, num_unlabeled=POOL))
    reference = paper_thresholds.FlexMatch(K, POOL, 0.8, mapping, warm_up=warm_up)
    counted = set()
    for seed in range(12):
        case = Drawn(seed)
        thresholds, weak = reference.thresholds(), scale * case.weak
        loss, nets = step(method, case, memory=memory)
        mask = [q.max() > thresholds[q.argmax()] for q in paper.softmax(weak)]
        counted.add(sum(mask))

        def unsupervised(
            factor: paper.Rows, case: Case = case, weak: paper.Rows = weak, mask: list[bool] = mask
        ) -> float:
            targets = paper_thresholds.classes(paper.softmax(weak))
            return 0.7 * paper_thresholds.masked(targets, mask, case.strong * factor)

        expected = {
            "supervised": case.supervised(),
            "unsupervised": 0.7 * reference.loss(weak, case.strong, case.images),
        }
        assert terms(loss) == pytest.approx(expected, rel=1e-4)
        assert loss.metrics["threshold"].item() == pytest.approx(np.mean(thresholds), abs=1e-6)
        assert memory.flags.tolist() == reference.flags
        (found,) = torch.autograd.grad(loss.terms["unsupervised"], nets.factor)
        np.testing.assert_allclose(found.numpy(), paper_thresholds.slope(unsupervised, K), rtol=1e-3, atol=1e-5)
    assert len(counted) > 2
    assert U in counted, "before any flag, all rows count"


def test_flexmatch__a_flag_stays_when_its_image_is_not_confident_again() -> None:
    method, case = FlexMatch(threshold=0.8), Case()
    memory = method.memory(SPEC)
    case.weak = 9 * np.eye(U, K, dtype=np.float32)
    case.weak[K:] = case.weak[0]
    step(method, case, memory=memory)
    flags = memory.flags.clone()
    case.weak = 0 * case.weak
    step(method, case, memory=memory)
    assert torch.equal(memory.flags, flags)
    assert flags.tolist() == [0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0]
