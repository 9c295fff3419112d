"""Semi-supervised GAN: the classifier also tells real rows from those that a generator makes up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.core import distributed, seeding
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, Step
from understudy.functional.generated import entropy, matching, pull_away, realness, relative_spread
from understudy.methods.base import Method, register
from understudy.models.generators import generator
from understudy.models.nets import Networks, Statistics

NUM_PICTURES = 64  # a sheet of 8 by 8

# A choice without a benchmark: rows that differ a tenth as much as real ones are one picture with noise. The running
# mean covers about ten steps, so that a single odd batch switches nothing.
COLLAPSED_SPREAD, SPREAD_DECAY = 0.1, 0.9


class Made(nn.Module):
    """Latents of the pictures, and the running spread of generated rows over real ones.

    Also, within a step, what the discriminator's forward leaves for the generator's step.
    What lives within a step is in no checkpoint.
    """

    latents: Float[Tensor, "n z"]
    spread: Float[Tensor, ""]
    real: Float[Tensor, "d"]
    rows: Float[Tensor, "g ..."]

    def __init__(self, latent_width: int, feature_width: int) -> None:
        super().__init__()
        fixed = seeding.generator("pictures").standard_normal((NUM_PICTURES, latent_width), dtype="float32")
        self.register_buffer("latents", torch.from_numpy(fixed))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("real", torch.zeros(feature_width), persistent=False)
        self.register_buffer("rows", torch.zeros(0), persistent=False)
        self.statistics: Statistics = {}


class Players(Networks):
    """Networks in which the next rows normalized by what was noted send their gradient through it to the rows noted.

    Without it the discriminator treats as constant what its own step moves: on two rings against fixed normal noise it
    hardly left chance. Forwards in chunks go without, for a recomputation must save the very tensors of the first pass.
    """

    def __init__(self, **networks: nn.Module) -> None:
        super().__init__(**networks)
        self._differentiable: Statistics = {}

    @contextlib.contextmanager
    def noted_statistics(self) -> Iterator[Statistics]:
        """As `Networks` notes them, and with their gradient for the next `normalized_by`."""
        self._differentiable = {}
        with super().noted_statistics() as noted, _before_norms(self, self._note):
            yield noted

    @contextlib.contextmanager
    def normalized_by(self, statistics: Statistics) -> Iterator[None]:
        """As `Networks` normalizes; the first time after noting, gradients reach the rows noted."""
        differentiable, self._differentiable = self._differentiable, {}

        def move(norm: _BatchNorm, x: Tensor) -> Tensor | None:
            """The input whose value stays, and whose gradient is that of normalizing by mean and variance."""
            if norm not in differentiable:
                return None
            shape = (1, -1) + (1,) * (x.ndim - 2)
            mean, variance = (value.view(shape) for value in differentiable[norm])
            ratio = ((variance.detach() + norm.eps) / (variance + norm.eps)).sqrt()
            return ((x.float() - mean) * ratio + mean.detach()).to(x.dtype)

        with super().normalized_by(statistics), _before_norms(self, move):
            yield

    def _note(self, norm: _BatchNorm, x: Tensor) -> None:
        if norm.training and self.execution.chunks == 1:
            variance, mean = torch.var_mean(x.float(), (0, *range(2, x.ndim)), correction=0)
            self._differentiable[norm] = mean, variance


@contextlib.contextmanager
def _before_norms(nets: nn.Module, before: Callable[[_BatchNorm, Tensor], Tensor | None]) -> Iterator[None]:
    """Call `before` with each batch-norm layer and its input inside the block; what it returns replaces the input."""
    norms = [module for module in nets.modules() if isinstance(module, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(lambda norm, args: before(norm, args[0])) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@register
@dataclass(frozen=True, kw_only=True)
class SGAN(Method[Made]):
    """Semi-supervised GAN (Salimans et al., 2016, sections 3.1 and 5), with terms of Dai et al. (2017).

    The classifier's K logits l(x) are those of a classifier of K + 1 classes whose last, "generated", has logit 0:
    with Z(x) = sum_k exp l_k(x), a row is real with probability D(x) = Z(x) / (Z(x) + 1). The discriminator minimizes
    L = H(y_b, softmax l(x_b)) - `lambda_u` (mean_u log D(x_u) + mean_g log(1 - D(G(z_g)))) + `lambda_entropy` mean_u
    H(softmax l(x_u)). Then the generator G moves towards `lambda_matching` |mean_u f(x_u) - mean_g f(G(z_g))|, f being
    the input of the last layer, + `lambda_pull_away` mean_(g != h) cos(f_g, f_h)^2 (Zhao et al., 2017).

    Differs from the paper: instead of separate batches and weight norm, generated rows are normalized by the batch
    statistics of the real rows of the same step (the paper's virtual batch normalization with a new reference batch).
    Thus real and generated features are comparable, and running statistics contain only real rows. Features are
    compared by the mean absolute difference, and `lambda_u` is 0.5, as in the authors' code for images;
    `distance=squared` with `lambda_u=1` is the text. The features of real rows are those of the discriminator's
    forward, before its update. The entropy term is off, as in the paper; it comes from Dai et al., whose generator of
    rows between the classes (a density model, an encoder) is not included.
    """

    paper: ClassVar[str] = "Salimans et al., 2016, https://arxiv.org/abs/1606.03498"
    summary: ClassVar[str] = (
        "A generator produces images, and the classifier learns to distinguish them from real ones."
    )
    use_when: ClassVar[str] = (
        "to study what the network takes for a real image; other methods classify better at equal cost"
    )
    needs_features: ClassVar[bool] = True
    cost: ClassVar[float | None] = 25.4
    kept_networks: ClassVar[tuple[str, ...]] = ("generator",)
    views: ClassVar[tuple[str, ...]] = ("weak",)

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 1
    generated: Annotated[float, Knob("generated rows per unlabeled row", 0.01, probe=0.5)] = 1.0
    lambda_u: Annotated[float, Knob("weight of the adversarial loss (real or generated)", 0, probe=0.1)] = 0.5
    lambda_entropy: Annotated[float, Knob("weight of the entropy of unlabeled predictions", 0, probe=1.0)] = 0.0
    lambda_matching: Annotated[float, Knob("weight of the generator's feature matching loss", 0, probe=10.0)] = 1.0
    distance: Annotated[str, Knob("distance of the feature matching loss", choices=("absolute", "squared"))] = (
        "absolute"
    )
    lambda_pull_away: Annotated[float, Knob("weight of the generator's pull-away term", 0, probe=1.0)] = 0.0
    latent_width: Annotated[int, Knob("dimension of the generator's latent vector", 1, probe=8)] = 100

    generator_rate: Annotated[
        float, Knob("learning rate of the generator, relative to the classifier's", 0, probe=0.1)
    ] = 1.0

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, which is the discriminator, and a generator of such rows."""
        return Players(model=classifier, generator=generator(spec.shape, self.latent_width, like=classifier))

    def memory(self, spec: DataSpec) -> Made:
        """The latents of the pictures."""
        return Made(self.latent_width, spec.feature_width)

    def objectives(self) -> tuple[Objective, ...]:
        """The discriminator's step, then the generator's, which sees what the discriminator's did."""
        return Objective(self.loss), Objective(self.generator_loss, trains=("generator",), rate=self.generator_rate)

    def pictures(self, nets: Networks, memory: Made) -> dict[str, Tensor]:
        """Rows made of the same latents every time."""
        with torch.no_grad():
            return {"generated": nets.through("generator", memory.latents)[0]}

    def latents(self, batch: Batch) -> Float[Tensor, "g z"]:
        """This process's part of the step's latents."""
        ids = batch.unlabeled.ids
        count = max(1, round(self.generated * len(ids))) * distributed.world_size()
        drawn = batch.random("latents").standard_normal((count, self.latent_width), dtype="float32")
        return torch.from_numpy(distributed.share(drawn)).to(ids.device)

    def loss(self, nets: Networks, batch: Batch, memory: Made, step: Step) -> Loss:
        """The discriminator's loss."""
        with nets.noted_statistics() as memory.statistics:
            views = batch.labeled.view(), batch.unlabeled.view("weak")
            (logits, _), (real, features) = nets.logits_and_features(*views)
        memory.real = distributed.mean(features.detach().mean(0))
        (memory.rows,) = nets.through("generator", self.latents(batch))
        with nets.normalized_by(memory.statistics):
            ((fake, _),) = nets.logits_and_features(memory.rows.detach())
        real_score, fake_score = realness(real), realness(fake)
        adversarial = self.watch_spread(memory, views[1])
        weight = self.lambda_u * adversarial
        terms = {
            "supervised": self.labeled_term(logits, batch),
            "real": weight * F.softplus(-real_score).mean(),
            "generated": weight * F.softplus(fake_score).mean(),
        }
        if self.lambda_entropy:
            terms["entropy"] = self.lambda_entropy * entropy(real).mean()
        metrics = {
            "real_as_real": (real_score > 0).float().mean(),
            "generated_as_real": (fake_score > 0).float().mean(),
            "generated_spread": memory.spread.clone(),
            "adversarial": adversarial,
        }
        return Loss(terms, metrics)

    @torch.no_grad()
    def watch_spread(self, memory: Made, real: Float[Tensor, "u ..."]) -> Float[Tensor, ""]:
        """1, or 0 while generated rows are almost all alike: the classifier learns nothing from telling those apart.

        The generator goes on learning, and the terms come back once its rows differ again.
        """
        spread = relative_spread(distributed.gather(memory.rows), distributed.gather(real))
        memory.spread.lerp_(spread, 1 - SPREAD_DECAY)
        return (memory.spread >= COLLAPSED_SPREAD).float()

    def generator_loss(self, nets: Networks, batch: Batch, memory: Made, step: Step) -> Loss:
        """The generator's loss, over the generated rows of all processes: the very rows that the discriminator saw."""
        with nets.normalized_by(memory.statistics):
            ((_, features),) = nets.logits_and_features(memory.rows)
        features = distributed.gather(features)
        terms = {"matching": self.lambda_matching * matching(memory.real, features.mean(0), self.distance)}
        if self.lambda_pull_away:
            terms["pull_away"] = self.lambda_pull_away * pull_away(features)
        return Loss(terms)
