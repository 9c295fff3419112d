"""The networks one run trains, and the ways a loss may run them: with gradient in training mode, or to predict."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from understudy.core.errors import UnderstudyWarning
from understudy.models.heads import feature_width, logits_and_features


@dataclass(frozen=True)
class Execution:
    """How networks are run on this machine; decided once per run and kept on resume.

    Args:
        dtype: Type of the network's arithmetic: float32 or bfloat16. Weights and results stay float32.
        channels_last: Whether image tensors are laid out channels last.
        chunks: Parts a training forward is cut into to save memory; each is recomputed in the backward pass.
        compiled: Whether `torch.compile` is applied to the network.
        threads: Processor threads.
    """

    dtype: str = "float32"
    channels_last: bool = False
    chunks: int = 1
    compiled: bool = False
    threads: int = 1


Statistics = dict[nn.Module, tuple[Tensor, Tensor]]
"""Mean and variance that batch-norm layers normalized by."""


class Networks(nn.Module):
    """Named networks of one run.

    `model` is the classifier that is evaluated, exported and served; `ema` its running average, written by the
    engine alone. Networks that no objective trains are frozen.
    """

    model: nn.Module
    ema: nn.Module

    def __init__(self, **networks: nn.Module) -> None:
        """Takes `model` and any others; `ema` is made as a frozen copy of `model`."""
        super().__init__()
        for name, network in networks.items():
            self.add_module(name, network)
        self.add_module("ema", copy.deepcopy(networks["model"]).requires_grad_(False).eval())
        self.execution = Execution()
        self._frozen: list[nn.Module] = []
        self._compiled: dict[str, Callable[..., Any]] = {}
        self._statistics: Statistics | None = None

    def freeze(self, parts: Sequence[nn.Module]) -> None:
        """Keep these parts of networks as they are: no gradient, and running statistics that stay."""
        self._frozen = list(parts)
        for part in parts:
            part.requires_grad_(False).eval()

    def logits(self, *views: Float[Tensor, "_ ..."]) -> tuple[Float[Tensor, "_ k"], ...]:
        """The classifier's float32 logits for each view, from one training forward over all views together."""
        return self.through("model", *views)

    def through(self, name: str, *views: Float[Tensor, "_ ..."]) -> tuple[Tensor, ...]:
        """The named network's float32 output for each view, from one training forward over all views together."""
        result = self._run(self._callable(name), _join(views))
        return torch.split(result, [len(view) for view in views])

    def logits_and_features(
        self, *views: Float[Tensor, "_ ..."]
    ) -> tuple[tuple[Float[Tensor, "_ k"], Float[Tensor, "_ d"]], ...]:
        """As `logits`, each with the features its last linear layer was given."""
        both = self._run(lambda x: torch.cat(logits_and_features(self.model, x), dim=-1), _join(views))
        width = both.shape[-1] - feature_width(self.model)
        return tuple((part[:, :width], part[:, width:]) for part in torch.split(both, [len(view) for view in views]))

    @torch.no_grad()
    def predict(self, x: Float[Tensor, "n ..."], *, by: str = "ema") -> Float[Tensor, "n k"]:
        """Logits of the averaged classifier (`ema`) or the present one (`model`): evaluation mode, no gradient."""
        return self._evaluate(self.get_submodule(by), self._callable(by), x)

    @torch.no_grad()
    def predict_with_features(
        self, x: Float[Tensor, "n ..."], *, by: str = "ema"
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n d"]]:
        """As `predict`, with the features the classifier's last linear layer was given."""
        network = self.get_submodule(by)
        both = self._evaluate(network, lambda x: torch.cat(logits_and_features(network, x), dim=-1), x)
        width = both.shape[-1] - feature_width(network)
        return both[:, :width], both[:, width:]

    @torch.no_grad()
    def predict_in_training(self, *views: Float[Tensor, "_ ..."], by: str = "ema") -> tuple[Float[Tensor, "_ k"], ...]:
        """As `predict`, run as `model` is trained, with dropout and by the batch's statistics; nothing moves."""
        modes = {name: module.training for name, module in self.model.named_modules()}
        for name, module in self.ema.named_modules():
            module.training = modes[name]
        try:
            with self.still_statistics():
                return self.through(by, *views)
        finally:
            self.ema.eval()

    @contextlib.contextmanager
    def still_statistics(self) -> Iterator[None]:
        """Let training forwards normalize by their batch without updating the running statistics."""
        with _unmoved_statistics(self):
            yield

    @contextlib.contextmanager
    def noted_statistics(self) -> Iterator[Statistics]:
        """Record the batch statistics that each batch-norm layer uses in training; the last pass wins.

        Layers that do not normalize by their batch are left out.
        """
        noted: Statistics = {}

        def note(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
            if norm.training:
                x = args[0].detach().float()
                variance, mean = torch.var_mean(x, (0, *range(2, x.ndim)), correction=0)
                noted[norm] = mean, variance

        handles = [m.register_forward_pre_hook(note) for m in self.modules() if isinstance(m, _BatchNorm)]
        try:
            yield noted
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def normalized_by(self, statistics: Statistics) -> Iterator[None]:
        """Let batch norm normalize by the recorded statistics without updating the running ones."""
        self._statistics = statistics
        try:
            with _given_statistics(statistics):
                yield
        finally:
            self._statistics = None

    def _evaluate(self, network: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        training = network.training
        network.eval()
        try:
            parts = [self._run_plain(run, part) for part in x.tensor_split(self.execution.chunks)]
        finally:
            network.train(training)
            for part in self._frozen:
                part.eval()
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _callable(self, name: str) -> Callable[[Tensor], Tensor]:
        network = self.get_submodule(name)

        def run_compiled(x: Tensor) -> Tensor:
            if self.execution.compiled:
                try:
                    if name not in self._compiled:
                        self._compiled[name] = torch.compile(network, dynamic=False)
                    output: Tensor = self._compiled[name](x)
                except torch.OutOfMemoryError:
                    raise  # a smaller forward pass may fit, and be compiled
                except Exception as error:  # compilers raise errors of many kinds, and only when the network is called
                    self._stop_compiling(error)
                else:
                    return output
            eager: Tensor = network(x)  # an error of the network itself is raised again here
            return eager

        return run_compiled if self.execution.compiled else network

    def _stop_compiling(self, error: Exception) -> None:
        """Run all networks eagerly from now on, in a resumed run too, and warn once."""
        self.execution = replace(self.execution, compiled=False)
        self._compiled.clear()
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        warnings.warn(
            f"torch.compile failed ({reason}); training continues without it, only slower",
            UnderstudyWarning,
            stacklevel=2,
        )

    def _run(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.execution.chunks == 1 or len(x) < 2 * self.execution.chunks:
            return self._run_plain(network, x)
        parts = [
            checkpoint(self._run_plain, network, part, use_reentrant=False, context_fn=self._recompute_quietly)
            for part in x.tensor_split(self.execution.chunks)
        ]
        return torch.cat(parts)

    def _recompute_quietly(self) -> tuple[contextlib.AbstractContextManager[None], Any]:
        statistics = self._statistics
        again = _unmoved_statistics(self) if statistics is None else _given_statistics(statistics)
        return contextlib.nullcontext(), again

    def _run_plain(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with running(self.execution, x) as x:
            return network(x).float()


@contextlib.contextmanager
def running(execution: Execution, x: Tensor) -> Iterator[Tensor]:
    """The input laid out as the execution asks, inside a context of its arithmetic type."""
    if execution.channels_last and x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    if execution.dtype == "float32":
        yield x
    else:
        with torch.autocast(x.device.type, getattr(torch, execution.dtype)):
            yield x


@contextlib.contextmanager
def _unmoved_statistics(network: nn.Module) -> Iterator[None]:
    """Freeze the running statistics of batch norm in training mode.

    A recomputation must save the very tensors the first pass saved, so the layers keep their buffers.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


@contextlib.contextmanager
def _given_statistics(statistics: Statistics) -> Iterator[None]:
    """Put these layers in evaluation mode, with these as their running statistics."""
    names = ("training", "running_mean", "running_var")
    kept = {norm: [getattr(norm, name) for name in names] for norm in statistics}
    for norm, (mean, variance) in statistics.items():
        norm.training, norm.running_mean, norm.running_var = False, mean, variance
    try:
        yield
    finally:
        for norm, values in kept.items():
            for name, value in zip(names, values, strict=True):
                setattr(norm, name, value)


def _join(views: tuple[Tensor, ...]) -> Tensor:
    return views[0] if len(views) == 1 else torch.cat(views)
