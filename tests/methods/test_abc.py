"""ABC's terms against its paper's equations, what it shares with the base method's forwards, and its settings."""

from __future__ import annotations

import abc as standard_library
import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.contract.tiny import fresh_state, run, stage, tiny
from tests.methods import paper
from tests.methods.fixed import COUNTS, SPEC, Case, Fixed, K, U, terms
from understudy.core.config import from_table, to_table
from understudy.core.errors import ConfigError
from understudy.core.seeding import generator
from understudy.core.types import Loss, Step
from understudy.methods.abc import ABC, class_ratios
from understudy.methods.base import METHODS, Method
from understudy.methods.fixmatch import FixMatch
from understudy.methods.pseudo_label import PseudoLabel
from understudy.methods.softmatch import SoftMatch
from understudy.methods.supervised import Supervised

Rows = NDArray[Any]
RATIOS = np.array([min(COUNTS) / count for count in COUNTS])


class Headed(Fixed):
    """Networks of fixed logits whose base head is a linear layer on the features."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(base_head=nn.Linear(K // 2, K))

    def get_submodule(self, name: str) -> nn.Module:
        return self.networks[name]

    def predict(self, x: Tensor, *, by: str = "ema") -> Tensor:
        return super().predict(x * self.factor, by=by)  # with a graph, which the loss must cut

    def base(self, logits: Rows) -> Rows:
        """What the base head says of rows with these logits."""
        head: Any = self.networks["base_head"]
        return logits[:, : K // 2] @ head.weight.detach().numpy().T + head.bias.detach().numpy()


def step(method: ABC, case: Case, *, memory: Any = None, progress: float = 0.5) -> tuple[Loss, Any]:
    """The loss of the classifier's objective, and the networks it asked."""
    nets: Any = Headed()
    (objective,) = method.objectives()
    assert objective.trains == ("model", "base_head")
    return objective.loss(nets, case.batch(), memory or method.memory(SPEC), Step(7, progress)), nets


def bernoulli(purpose: str, probability: Rows) -> Rows:
    """B(r) of each row, from the step's draws."""
    draws = generator(f"balance of {purpose} rows").random(len(probability), dtype=np.float32)
    return (draws < probability).astype(float)


def balanced_supervised(case: Case) -> float:
    """Lee et al. (2021), equation 2: M(x_b) = B(N_L / N_b) times the cross-entropy."""
    kept = bernoulli("labeled", RATIOS[case.labels])
    return paper.supervised(case.labeled, case.labels, case.weight * kept)


def balanced_weight(weak: Rows, threshold: float, progress: float) -> Rows:
    """Equation 4 and the text after it: M(u) with a parameter that falls from 1 to N_L / N_q, times 1(max q >= tau)."""
    q = paper.softmax(weak)
    return (q.max(-1) >= threshold) * bernoulli("unlabeled", 1 - progress * (1 - RATIOS[q.argmax(-1)]))


def balanced_unsupervised(weak: Rows, strong: Rows, threshold: float, progress: float) -> float:
    """Equation 3: cross-entropy to q as it is, not sharpened and no class."""
    rows = zip(balanced_weight(weak, threshold, progress), paper.softmax(weak), strong, strict=True)
    return sum(weight * paper.cross_entropy(q, z) for weight, q, z in rows) / len(weak)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.95])
@pytest.mark.parametrize(("teacher", "scale"), [("ema", 1.0), ("model", 1.5)])
def test_loss(progress: float, threshold: float, teacher: str, scale: float) -> None:
    case = Case()
    method = ABC(base=FixMatch(threshold=0.5, lambda_u=0.7), threshold=threshold, teacher=teacher)
    loss, nets = step(method, case, progress=progress)
    expected = {
        "supervised": paper.supervised(nets.base(case.labeled), case.labels, case.weight),
        "unsupervised": 0.7 * paper.fixmatch(nets.base(case.weak), nets.base(case.strong), 0.5),
        "balanced_supervised": balanced_supervised(case),
        "balanced_unsupervised": balanced_unsupervised(scale * case.weak, case.strong, threshold, progress),
    }
    assert terms(loss) == pytest.approx(expected, rel=1e-4, abs=1e-7)
    share = balanced_weight(scale * case.weak, threshold, progress).mean()
    assert loss.metrics["balanced_mask_ratio"].item() == pytest.approx(share)
    assert nets.asked == (["ema", "logits"] if teacher == "ema" else ["model", "ema", "logits"])


def test_loss__base_remembers_over_steps() -> None:
    """Its running statistics are of its own head's predictions, step after step."""
    base = SoftMatch(momentum=0.999, cut_off=0.0, lambda_u=0.7)
    method, reference = ABC(base=base), paper.SoftMatch(K, 0.999, 2.0)
    memory = method.memory(SPEC)
    for seed in range(4):
        case = Case(seed)
        loss, nets = step(method, case, memory=memory)
        expected = 0.7 * reference.loss(nets.base(case.weak), nets.base(case.strong), 0.0)
        assert terms(loss)["unsupervised"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("base", "asked"),
    [
        (FixMatch(threshold=0.5), ["ema", "logits"]),
        (FixMatch(threshold=0.5, teacher="concat"), ["ema", "logits"]),  # the strong views were all trained on
        (FixMatch(threshold=0.5, teacher="model"), ["ema", "model", "logits"]),
        (PseudoLabel(threshold=0.5), ["ema", "logits", "logits"]),  # it trains on no strong view, so ABC does
    ],
    ids=lambda value: f"{value.name}-{value.teacher}" if isinstance(value, Method) else "",
)
def test_loss__terms_are_those_of_each_alone(base: Any, asked: list[str]) -> None:
    """Sharing forwards changes neither the base method's loss nor the balanced head's."""
    case = Case(2)
    loss, nets = step(ABC(base=base, threshold=0.7), case)
    assert nets.asked == asked
    based = Case(2)
    for view in ("labeled", "weak", "strong"):
        logits = getattr(case, view) * (1.5 if (view, base.teacher) == ("weak", "model") else 1.0)
        setattr(based, view, nets.base(logits).astype(np.float32))
    plain: Any = Fixed()
    plain.predict = lambda x, *, by="ema": x
    alone = base.loss(plain, based.batch(), base.memory(SPEC), Step(7, 0.5))
    found = terms(loss)
    for name, value in terms(alone).items():
        assert found[name] == pytest.approx(value, rel=1e-4)
    assert found["balanced_unsupervised"] == pytest.approx(
        balanced_unsupervised(case.weak, case.strong, 0.7, 0.5), rel=1e-4
    )
    assert loss.pseudo_labels is not None
    assert alone.pseudo_labels is not None
    assert loss.pseudo_labels.weight.tolist() == alone.pseudo_labels.weight.tolist()


def test_gradient__of_the_balanced_head_flows_through_the_strong_view_alone() -> None:
    case = Case(1)
    loss, nets = step(ABC(threshold=0.4), case)
    (found,) = torch.autograd.grad(loss.terms["balanced_unsupervised"], nets.factor, retain_graph=True)
    q, p = paper.softmax(case.weak), paper.softmax(case.strong)
    weight = balanced_weight(case.weak, 0.4, 0.5)[:, None]
    np.testing.assert_allclose(found, (weight * (p - q) * case.strong).sum(0) / U, rtol=1e-3, atol=1e-6)
    head = list(nets.networks["base_head"].parameters())
    for name, term in loss.terms.items():
        reached = any(g is not None for g in torch.autograd.grad(term, head, retain_graph=True, allow_unused=True))
        assert reached == (not name.startswith("balanced"))


def test_gradient__each_head_learns_from_its_own_terms() -> None:
    state = fresh_state(stage(ABC(threshold=0.0)))
    loss = state.objectives[0].loss(
        state.nets, state.stream.batch(Step(3, 0.5), with_unlabeled=True), state.memory, Step(3, 0.5)
    )
    layers: Any = state.nets.model
    for name, term in loss.terms.items():
        features, own = layers[1].weight, layers[-1].weight
        of_features, of_own = torch.autograd.grad(term, [features, own], retain_graph=True)
        assert of_features.any(), f"{name} does not train the features"
        assert of_own.any() == name.startswith("balanced")


def test_first_phase__trains_both_heads_on_labeled_rows() -> None:
    case, nets = Case(), Headed()
    (objective,) = ABC().first_phase()
    given: Any = nets
    loss = objective.loss(given, case.batch(), ABC().memory(SPEC), Step(0, 0.0))
    expected = {
        "supervised": paper.supervised(nets.base(case.labeled), case.labels, case.weight),
        "balanced_supervised": balanced_supervised(case),
    }
    assert terms(loss) == pytest.approx(expected, rel=1e-5)
    assert nets.asked == ["logits"]


def test_balanced_term__probabilities_as_targets() -> None:
    case = Case()
    batch = case.batch()
    targets = torch.eye(K)[batch.labeled.targets]
    soft = replace(batch, labeled=replace(batch.labeled, targets=targets))
    logits = torch.from_numpy(case.labeled)
    assert ABC().balanced_term(logits, soft).item() == pytest.approx(balanced_supervised(case), rel=1e-5)


def test_balance__rows_are_kept_alike_from_all_classes() -> None:
    """Of many labeled rows, as many of each class as there are of the rarest; of unlabeled ones at the end, too."""
    case = Case()
    case.labels = np.repeat(np.arange(K), 2000 * np.array(COUNTS))
    case.labeled, case.weight = np.zeros((len(case.labels), K), np.float32), np.ones(len(case.labels), np.float32)
    case.ids = np.arange(len(case.labels))
    batch = case.batch()
    probs = torch.eye(K)[batch.labeled.targets]
    for progress, expected in ((0.0, np.array(COUNTS)), (1.0, np.ones(K))):
        weight = ABC().weigh(probs, batch, Step(0, progress))
        np.testing.assert_allclose(np.bincount(case.labels, weight.numpy()) / 2000, expected, rtol=0.08)


def test_class_ratios__class_without_labels() -> None:
    assert class_ratios(torch.tensor([8.0, 0.0, 2.0])).tolist() == [0.25, 1.0, 1.0]


@pytest.mark.parametrize(
    "name", [n for n in METHODS.names() if n not in ("abc", "supervised") and not METHODS.get(n).pretext]
)
def test_networks__any_method_can_be_the_base(name: str) -> None:
    method = ABC(base=METHODS.get(name)())
    finished = run(stage(method, steps=5, data=tiny().data, warmup=0.3))
    assert all(value.isfinite().all() for value in finished.tensors.values())
    initial, last = stage(method).network.state_dict(), finished.trained.model.state_dict()
    assert initial.keys() == last.keys()
    assert not torch.equal(finished.tensors["nets.base_head.weight"], finished.tensors["nets.model.8.weight"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "abc"}, "abc.base is 'abc'; it must be a method, other than abc"),
        (
            {"name": "supervised"},
            "abc.base is 'supervised'; it must be a method, other than abc, that learns to classify",
        ),
        ({"name": "fixmatch", "ema_decay": 0.5}, "abc.base.ema_decay is 0.5, and there is one average of the weights"),
        ({"name": "fixmatch", "thresold": 0.5}, "unknown setting method.base.thresold: did you mean 'threshold'?"),
    ],
)
def test_config__refuses_a_base(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_table(Method, {"name": "abc", "base": table}, where="method")
    assert message in str(caught.value)


def test_config__base_survives_toml() -> None:
    table = {"name": "abc", "base": {"name": "softmatch", "cut_off": 0.1}, "threshold": 0.8}
    method = from_table(Method, table)
    assert method == ABC(base=SoftMatch(cut_off=0.1), threshold=0.8)
    assert from_table(Method, tomllib.loads(tomli_w.dumps(to_table(method)))) == method
    assert from_table(Method, {"name": "abc", "base": {"threshold": 0.8}}) == ABC(base=FixMatch(threshold=0.8))


def test_config__what_the_base_needs() -> None:
    method = ABC(base=FixMatch(mu=5))
    assert method.unlabeled_batch_size(4) == 20
    assert not method.needs_images
    assert not hasattr(Supervised(), "base")
    assert standard_library.ABC is not ABC  # the file's name stands in nobody's way


def test_evaluation__is_by_the_balanced_head() -> None:
    """Nothing of the base head reaches the classifier that is averaged and exported."""
    state = fresh_state(stage(ABC()))
    x = torch.rand(5, 1, 8, 8)
    before: Tensor = state.nets.predict(x, by="model")
    with torch.no_grad():
        state.nets.get_submodule("base_head").weight.zero_()  # type: ignore[operator, union-attr]
    torch.testing.assert_close(state.nets.predict(x, by="model"), before)
