"""The semi-supervised GAN against its papers' equations, where gradients go, and what its fakes leave untouched."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.contract.tiny import different, fresh_state, network, stage
from tests.methods import paper
from tests.methods.fixed import SPEC, Case, Fixed, K, U, terms
from understudy.core.errors import RunFolderError
from understudy.core.seeding import generator
from understudy.core.types import Loss, Step
from understudy.data.stream import Stream
from understudy.engine.fit import fit
from understudy.engine.state import TrainState
from understudy.functional.generated import collapse_note, pull_away, relative_spread
from understudy.methods.sgan import COLLAPSED_SPREAD, SGAN
from understudy.models.generators import ImageGenerator
from understudy.serving.generated import Sampler

Rows = NDArray[Any]
Z = 6


class Players(Fixed):
    """A generator that is one layer, and a discriminator whose logits are its input and features their first half."""

    def __init__(self) -> None:
        made = nn.Linear(Z, K)
        made.bias.data.fill_(-2)
        made.weight.data = torch.from_numpy(np.random.default_rng(5).normal(0, 1, (K, Z)).astype(np.float32))
        super().__init__(generator=made)

    @contextlib.contextmanager
    def noted_statistics(self) -> Any:
        self.asked.append("noted")
        yield {}

    @contextlib.contextmanager
    def normalized_by(self, statistics: Any) -> Any:
        self.asked.append("normalized")
        yield


def both(method: SGAN, case: Case) -> tuple[Loss, Loss, Players, Rows]:
    """The losses of discriminator and generator, the networks, and the generated rows."""
    nets: Any = Players()
    batch, memory, step = case.batch(), method.memory(SPEC), Step(7, 0.5)
    made = generator("latents").standard_normal((round(method.generated * U), Z), dtype="float32")
    made = made @ nets.networks["generator"].weight.detach().numpy().T - 2
    return method.loss(nets, batch, memory, step), method.generator_loss(nets, batch, memory, step), nets, made


def with_generated_class(logits: Rows) -> Rows:
    """Probabilities of the K classes and, last, of the class "generated", whose logit is 0."""
    return paper.softmax(np.concatenate([logits, np.zeros((len(logits), 1))], axis=1))


def entropy(logits: Rows) -> float:
    """mean_u -sum_k p_k log p_k."""
    p = paper.softmax(logits)
    return float(-(p * np.log(p)).sum(1).mean())


def cosines(features: Rows) -> float:
    """Zhao et al. (2017), equation 4: 1 / (N (N - 1)) sum_i sum_(j != i) (s_i . s_j / (|s_i| |s_j|))^2."""
    count, total = len(features), 0.0
    for i in range(count):
        for j in range(count):
            if i != j:
                norms = np.linalg.norm(features[i]) * np.linalg.norm(features[j])
                total += (features[i] @ features[j] / norms) ** 2
    return total / (count * (count - 1))


@pytest.mark.parametrize("generated", [1.0, 0.5])
def test_loss__is_that_of_a_classifier_of_one_more_class(generated: float) -> None:
    """Section 5: -log p(y < K + 1 | x) for unlabeled rows and -log p(y = K + 1 | x) for generated ones."""
    method, case = SGAN(latent_width=Z, lambda_u=0.7, lambda_entropy=0.3, generated=generated), Case()
    loss, _, nets, made = both(method, case)
    expected = {
        "supervised": case.supervised(),
        "real": 0.7 * -np.log(1 - with_generated_class(case.weak)[:, -1]).mean(),
        "generated": 0.7 * -np.log(with_generated_class(made)[:, -1]).mean(),
        "entropy": 0.3 * entropy(case.weak),
    }
    assert terms(loss) == pytest.approx(expected, rel=1e-4)
    assert nets.asked[:4] == ["noted", "logits", "generator", "normalized"]
    real = with_generated_class(case.weak)[:, -1] < 0.5
    fooled = with_generated_class(made)[:, -1] < 0.5
    assert 0 < fooled.mean() < 1
    assert loss.metrics["real_as_real"].item() == pytest.approx(real.mean())
    assert loss.metrics["generated_as_real"].item() == pytest.approx(fooled.mean())


def test_loss__without_entropy_has_no_such_term() -> None:
    loss, generator_loss, _, _ = both(SGAN(latent_width=Z), Case())
    assert set(terms(loss)) == {"supervised", "real", "generated"}
    assert set(terms(generator_loss)) == {"matching"}


@pytest.mark.parametrize("distance", ["absolute", "squared"])
def test_generator_loss__matches_mean_features_and_pulls_away(distance: str) -> None:
    """Section 3.1: |E f(x) - E f(G(z))|, f being the first half of the logits here."""
    method = SGAN(latent_width=Z, lambda_matching=0.6, lambda_pull_away=0.4, distance=distance)
    case = Case(1)
    _, loss, _, made = both(method, case)
    half = K // 2
    difference = case.weak[:, :half].mean(0) - made[:, :half].mean(0)
    expected = np.abs(difference).mean() if distance == "absolute" else (difference**2).sum()
    assert terms(loss) == pytest.approx(
        {"matching": 0.6 * expected, "pull_away": 0.4 * cosines(made[:, :half])}, rel=1e-4
    )


def test_pull_away__edges() -> None:
    assert pull_away(torch.randn(1, 4)).item() == 0
    assert pull_away(torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    assert pull_away(torch.tensor([[1.0, 2.0], [-2.0, -4.0]])).item() == pytest.approx(1)
    assert pull_away(torch.zeros(3, 4)).item() == 0


def test_losses__each_moves_its_own_network_alone() -> None:
    method = SGAN(latent_width=Z, lambda_entropy=0.3, lambda_pull_away=0.4, distance="squared")
    case = Case(2)
    loss, generator_loss, nets, made = both(method, case)
    weight: Any = nets.networks["generator"].weight
    assert torch.autograd.grad(loss.total, weight, retain_graph=True, allow_unused=True) == (None,)
    (found,) = torch.autograd.grad(loss.terms["generated"], nets.factor)
    p = with_generated_class(made)[:, :K]  # of -log(1 - sum_k p_k), by each logit
    np.testing.assert_allclose(found, 0.5 * (p * made).mean(0), rtol=1e-4, atol=1e-6)
    (found,) = torch.autograd.grad(generator_loss.terms["matching"], weight)
    latents = generator("latents").standard_normal((U, Z), dtype="float32")
    difference = made[:, : K // 2].mean(0) - case.weak[:, : K // 2].mean(0)
    expected = np.zeros((K, Z))
    expected[: K // 2] = 2 * np.outer(difference, latents.mean(0))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_generator_loss__real_features_carry_no_gradient() -> None:
    _, generator_loss, nets, made = both(SGAN(latent_width=Z, distance="squared"), Case(3))
    (found,) = torch.autograd.grad(generator_loss.total, nets.factor)
    half = made[:, : K // 2].mean(0)
    difference = half - Case(3).weak[:, : K // 2].mean(0)
    np.testing.assert_allclose(found[: K // 2], 2 * difference * half, rtol=1e-3, atol=1e-6)


def real_state(*, norm: bool = True) -> tuple[TrainState, Any, Step]:
    state = fresh_state(stage(SGAN(latent_width=Z, mu=2), net=network(norm=norm)))
    state.set_rates(0.5)
    step = Step(9, 0.5)
    stream: Stream = state.stream
    return state, stream.batch(step, with_unlabeled=True), step


def norms(state: TrainState) -> dict[str, Tensor]:
    return {
        name: value.clone()
        for name, value in state.nets.model.state_dict().items()
        if "running" in name or "tracked" in name
    }


def test_loss__generated_rows_leave_batch_norm_as_real_rows_alone_would() -> None:
    """Running statistics after the step are those of one forward over labeled and unlabeled rows, to the bit."""
    state, batch, step = real_state()
    reference, same_batch, _ = real_state()
    reference.nets.logits(same_batch.labeled.view(), same_batch.unlabeled.view("weak"))
    with torch.no_grad():
        for parameter in state.nets.get_submodule("generator").parameters():
            parameter.mul_(50)  # rows that would be seen in any statistics
    state.update(0, state.objectives[0].loss(state.nets, batch, state.memory, step))
    after = norms(state)
    assert len(after) == 6
    assert not different(after, norms(reference))
    state.update(1, state.objectives[1].loss(state.nets, batch, state.memory, step))
    assert not different(after, norms(state))
    assert all(m.training for m in state.nets.model.modules())


def test_loss__generated_rows_are_normalized_like_real_ones() -> None:
    """Were the generated rows the unlabeled ones, their mean features would be those of the real rows."""
    state, batch, step = real_state()
    fakes = batch.unlabeled.view("weak")

    class Copy(nn.Module):
        def forward(self, latents: Tensor) -> Tensor:
            return fakes

    state.nets.generator = Copy()
    state.objectives[0].loss(state.nets, batch, state.memory, step)
    matched = state.objectives[1].loss(state.nets, batch, state.memory, step).terms["matching"]
    assert matched.item() == pytest.approx(0, abs=1e-5)


def test_pictures__same_latents_every_time() -> None:
    state, batch, step = real_state()
    method = state.settings.method
    first = method.pictures(state.nets, state.memory)["generated"]
    assert (first.shape, first.requires_grad) == ((64, 1, 8, 8), False)
    assert torch.equal(first, method.pictures(state.nets, state.memory)["generated"])
    for index in (0, 1):
        state.update(index, state.objectives[index].loss(state.nets, batch, state.memory, step))
    assert not torch.equal(first, method.pictures(state.nets, state.memory)["generated"])


def test_sgan__gradients_pass_through_the_statistics_that_normalize_generated_rows() -> None:
    """A shift before batch norm moves rows and their mean alike, so that no term of the loss can ask for one."""
    state = fresh_state(stage(SGAN(latent_width=6, mu=2), net=network(norm=True)))
    state.set_rates(0.5)
    step = Step(9, 0.5)
    loss = state.objectives[0].loss(state.nets, state.stream.batch(step, with_unlabeled=True), state.memory, step)
    first = next(m for m in state.nets.model.modules() if getattr(m, "bias", None) is not None)
    assert first.bias.shape == next(m for m in state.nets.model.modules() if hasattr(m, "running_mean")).bias.shape
    for term in loss.terms.values():
        (shift, weight) = torch.autograd.grad(term, (first.bias, first.weight), retain_graph=True)
        assert weight.abs().max() > 1e-4
        assert shift.abs().max() < 1e-3 * weight.abs().max()


def test_relative_spread__of_like_unlike_and_equal_rows() -> None:
    real = torch.randn(500, 1, 4, 4)
    assert relative_spread(2 * torch.randn(500, 1, 4, 4), real).item() == pytest.approx(2, rel=0.1)
    assert relative_spread(torch.zeros(9, 1, 4, 4), real).item() == 0
    assert relative_spread(torch.rand(1, 1, 4, 4).expand(9, 1, 4, 4), real).item() == pytest.approx(0, abs=1e-6)


def test_image_generator__black_images_keep_the_gradient_that_brightens_them() -> None:
    made = ImageGenerator((1, 8, 8), Z)
    made.finish.bias.data.fill_(-100.0)
    images = made(torch.randn(3, Z))
    assert images.max() == 0
    images.sum().backward()  # descent darkens further, which is out of range
    assert made.finish.bias.grad is not None
    assert made.finish.bias.grad.item() == 0
    (-made(torch.randn(3, Z)).sum()).backward()
    assert made.finish.bias.grad.item() == pytest.approx(-3 * 64 * 0.25)


def test_loss__adversarial_terms_pause_while_rows_are_alike_and_come_back() -> None:
    """Equal rows: the running spread falls tenfold in 22 steps; then the classifier learns from labels alone."""
    method, case = SGAN(latent_width=Z), Case()
    nets: Any = Players()
    memory, weight = method.memory(SPEC), nets.networks["generator"].weight
    kept = weight.data.clone()
    weight.data.zero_()
    seen = [method.loss(nets, case.batch(), memory, Step(step, 0.5)) for step in range(25)]
    assert seen[0].metrics["adversarial"] == 1
    assert terms(seen[0])["generated"] > 0
    assert seen[-1].metrics["adversarial"] == 0
    assert seen[-1].metrics["generated_spread"] < COLLAPSED_SPREAD
    assert terms(seen[-1])["real"] == terms(seen[-1])["generated"] == 0
    assert terms(seen[-1])["supervised"] == pytest.approx(case.supervised(), rel=1e-4)
    weight.data = kept
    again = method.loss(nets, case.batch(), memory, Step(25, 0.5))
    assert again.metrics["adversarial"] == 1


def test_sampler__the_generator_of_a_run_folder(tmp_path: Path) -> None:
    fit(stage(SGAN(latent_width=Z), steps=3), tmp_path / "run")
    sampler = Sampler.load(tmp_path)
    images = sampler.sample(5, seed=1)
    assert images.shape == (5, 1, 8, 8)
    assert 0 <= images.min() < images.max() <= 1
    assert torch.equal(images, Sampler.load(tmp_path / "run").sample(5, seed=1))
    with pytest.raises(RunFolderError, match=r"has no generator.safetensors; name the folder"):
        Sampler.load(tmp_path / "elsewhere")


def test_collapse_note__says_how_far_and_whether_it_recovered() -> None:
    sound = {"adversarial": 1.0, "generated_spread": 0.8}
    collapsed = {"adversarial": 0.25, "generated_spread": 0.04}
    assert collapse_note([{"supervised": 1.0}, sound]) == ""
    recovered = collapse_note([sound, collapsed, sound])
    assert "only 4 % as much as real ones" in recovered
    assert "1 of 3 intervals, and it had recovered at the end, where its images differed 80 % as much." in recovered
    fading = collapse_note([collapsed, {"adversarial": 1.0, "generated_spread": 0.02}])
    assert "only 4 % as much as real ones" in fading, "where the terms were off, not at the end"
    assert fading.endswith("at the end, where its images differed 2 % as much.")
    assert "had not recovered at the end" in collapse_note([sound, collapsed])
