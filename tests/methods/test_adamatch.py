"""AdaMatch against its paper on fixed logits, where a forward of labeled rows alone differs from a joint one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods import paper, paper_thresholds
from tests.methods.fixed import SPEC, B, Case, Fixed, K, step, terms
from understudy.core.seeding import generator
from understudy.core.types import Batch
from understudy.functional.alignment import Alignment
from understudy.methods.adamatch import AdaMatch


class Still(Fixed):
    """Networks that scale logits by 0.4 while their statistics are still, as other batch statistics would."""

    def __init__(self) -> None:
        super().__init__()
        self.still = False

    @contextmanager
    def still_statistics(self) -> Iterator[None]:
        self.still = True
        yield
        self.still = False

    def logits(self, *views: Tensor) -> tuple[Tensor, ...]:
        logits = super().logits(*views)
        if self.still:
            self.asked[-1] = "still"
        return tuple(0.4 * view for view in logits) if self.still else logits


class TwoViews(Case):
    """A case whose labeled rows have a weak and a strong view of their own."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.labeled_strong = np.random.default_rng(seed + 50).normal(0, 2, (B, K)).astype(np.float32)

    def batch(self) -> Batch:
        batch = super().batch()
        views = {"weak": self.labeled, "strong": self.labeled_strong}
        labeled = replace(batch.labeled, render=lambda name, rows, draw: torch.from_numpy(views[name]))
        return replace(batch, labeled=labeled)


PLACE = generator("logit interpolation").random((B, 2, K), dtype="float32")


@pytest.mark.parametrize("momentum", [0.999, 0.2])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5), ("concat", 1.0)])
def test_adamatch__over_steps(momentum: float, teacher: str, scale: float) -> None:
    alignment = Alignment(target="running", momentum=momentum)
    method = AdaMatch(alignment=alignment, teacher=teacher, threshold=0.95, lambda_u=0.7)
    memory, reference = method.memory(SPEC), paper_thresholds.AdaMatch(K, momentum, 0.95)
    counted = []
    for seed, progress in enumerate((0.1, 0.25, 0.4, 0.5, 0.9)):
        case, nets = TwoViews(seed), Still()
        loss, _ = step(method, case, memory=memory, progress=progress, nets=nets)
        known = scale * case.labeled
        if teacher == "concat":
            known = paper_thresholds.interpolated(0.4 * case.labeled, case.labeled, PLACE[:, 0])
        targets, mask = reference.pseudo_labels(known, scale * case.weak)
        counted.append(sum(mask))
        ramp = 0.5 - np.cos(min(np.pi, 2 * np.pi * progress)) / 2  # section 3.5, mu(t)

        def supervised(factor: paper.Rows, case: TwoViews = case) -> float:
            total = 0.0
            for number, view in enumerate((case.labeled, case.labeled_strong)):
                logits = paper_thresholds.interpolated(0.4 * view * factor, view * factor, PLACE[:, number])
                total += paper.supervised(logits, case.labels, case.weight.astype(float)) / 2
            return total

        def unsupervised(
            factor: paper.Rows,
            case: Case = case,
            targets: list[paper.Rows] = targets,
            mask: list[bool] = mask,
            ramp: float = ramp,
        ) -> float:
            return 0.7 * ramp * paper_thresholds.masked(targets, mask, case.strong * factor)

        one = np.ones(K)
        assert terms(loss) == pytest.approx(
            {"supervised": supervised(one), "unsupervised": unsupervised(one)}, rel=1e-4
        )
        for term, function in (("supervised", supervised), ("unsupervised", unsupervised)):
            (found,) = torch.autograd.grad(loss.terms[term], nets.factor, retain_graph=True)
            np.testing.assert_allclose(found.numpy(), paper_thresholds.slope(function, K), rtol=1e-3, atol=1e-5)
        assert nets.asked == (["still", "logits"] if teacher == "concat" else ["still", teacher, "logits"])
    assert 0 < min(counted) < max(counted)
    np.testing.assert_allclose(memory.balance.labeled.numpy(), reference.labeled, rtol=1e-5)
    np.testing.assert_allclose(memory.balance.unlabeled.numpy(), reference.unlabeled, rtol=1e-5)


def test_adamatch__without_alignment_the_threshold_stays_relative() -> None:
    case = TwoViews(3)
    loss, _ = step(AdaMatch(alignment=Alignment(), threshold=0.9), case, nets=Still())
    level = 0.9 * paper.softmax(case.labeled).max(-1).mean()
    assert loss.metrics["mask_ratio"].item() == pytest.approx((paper.softmax(case.weak).max(-1) >= level).mean())
