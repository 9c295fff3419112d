"""The endless stream of batches, each a pure function of (data, seed, step, rows consumed before)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from understudy.augment import View, num_draws
from understudy.core import distributed
from understudy.core.errors import ConfigError, nearest
from understudy.core.seeding import Shuffle, generator, uniforms
from understudy.core.types import Batch, Labeled, Render, Step, Unlabeled
from understudy.data.training_data import TrainingData
from understudy.functional.mixing import class_probabilities, cut_boxes, cutmix, mix_pairs, mixup

VIEWS: tuple[View, ...] = get_args(View)
_NOTHING = np.zeros(0, dtype=np.int64)


class Stream:
    """Batches of `batch_size` labeled and `unlabeled_batch_size` unlabeled rows over all processes together.

    Ids and augmentation draws belong to the global batch and are then cut for this process, so that neither the
    number of processes nor the rows a method skips can change an image.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        batch_size: int,
        unlabeled_batch_size: int,
        labeled_view: str = "weak",
        mix: str = "none",
        mix_alpha: float = 1.0,
        oversampling: float = 0.0,
        device: torch.device | None = None,
    ) -> None:
        """`labeled_view` is "weak", "strong", or "mixed": half of the labeled rows weak, half strong.

        Args:
            mix: "none", or how labeled rows are mixed with one another: "mixup" or "cutmix".
            mix_alpha: Parameter of the Beta distribution that the share of a row's own pixels is drawn from.
            oversampling: As `oversampled`.
        """
        world = distributed.world_size()
        if batch_size % world or unlabeled_batch_size % world:
            raise ConfigError(
                f"a batch of {batch_size} labeled and {unlabeled_batch_size} unlabeled rows cannot be shared equally "
                f"by {world} processes; choose a batch_size that is a multiple of {world}"
            )
        self.data = data
        self.seed = seed
        self.batch_size = batch_size
        self.unlabeled_batch_size = unlabeled_batch_size
        self.labeled_view = labeled_view
        self.device = device or torch.device("cpu")
        self.pool = data.pool
        self.consumed = {"labeled": 0, "unlabeled": 0}
        self.selector = Selector(exact=self.device.type == "cpu")
        self.mix, self.mix_alpha = mix, mix_alpha
        self._repeated = oversampled(data.targets, len(data.classes), oversampling)
        self._labeled_order = Shuffle(len(self._repeated), "labeled", seed)
        self._pool_order = Shuffle(len(self.pool), "unlabeled", seed)
        self._targets = data.targets.to(self.device)
        self._class_counts = data.class_counts.float().to(self.device)
        weight = torch.ones(len(data.labeled)) if data.weight is None else data.weight / data.weight.mean()
        self._weight = weight.to(self.device)

    def batch(self, step: Step, *, with_unlabeled: bool) -> Batch:
        """The next batch; a supervised step leaves the unlabeled order where it is."""
        # Both orders are keyed bijections of the number of rows consumed, which is all the state there is: a step that
        # is repeated after a roll-back takes the same rows, and a first phase of any length leaves no row out.
        labeled = self._repeated[self._labeled_order.take(self.consumed["labeled"], self.batch_size)]
        self.consumed["labeled"] += self.batch_size
        unlabeled = _NOTHING
        if with_unlabeled:
            unlabeled = self._pool_order.take(self.consumed["unlabeled"], self.unlabeled_batch_size)
            self.consumed["unlabeled"] += self.unlabeled_batch_size
        local = torch.from_numpy(distributed.share(labeled)).to(self.device)
        given = Labeled(
            targets=self._targets[local],
            weight=self._weight[local],
            render=self._renderer("labeled", step, self.data.labeled[labeled]),
            policy=self.labeled_view,
            class_counts=self._class_counts,
            ids=local,
        )
        return Batch(
            labeled=given if self.mix == "none" else self._mixed(given, labeled, step),
            unlabeled=Unlabeled(
                ids=torch.from_numpy(distributed.share(unlabeled)).to(self.device),
                render=self._renderer("unlabeled", step, self.pool[unlabeled]),
                selector=self.selector.select,
            ),
            random=lambda purpose: generator(purpose, self.seed, step.attempt, step.index),
        )

    def _mixed(self, labeled: Labeled, rows: NDArray[np.int64], step: Step) -> Labeled:
        """The labeled rows blended with others of the global batch, their targets and weights in the same shares.

        Order, shares and boxes are drawn for the global batch, so that they do not depend on the number of processes.
        """
        draws = generator("labeled mix", self.seed, step.attempt, step.index)
        order = draws.permutation(len(rows))
        share = draws.beta(self.mix_alpha, self.mix_alpha, len(rows))
        boxes: NDArray[np.int64] | None = None
        if self.mix == "cutmix":
            boxes, share = cut_boxes(share, draws.random((len(rows), 2)), *self.data.row_shape[1:])

        def on_device(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(values).to(self.device)

        every, partners, shares = on_device(rows), on_device(order), on_device(share.astype(np.float32))
        probabilities = class_probabilities(self._targets[every], len(self.data.classes)).float()
        targets, weight = mix_pairs(probabilities, self._weight[every].float(), partners, shares)

        def render(view: str, chosen: Tensor | None, draw: int) -> Tensor:
            own = labeled.render(view, None, draw)
            others = distributed.gather(own)[distributed.share(partners)]
            if boxes is None:
                mixed = mixup(own, others, distributed.share(shares))
            else:
                mixed = cutmix(own, others, distributed.share(on_device(boxes)))
            return mixed if chosen is None else mixed[chosen]

        return replace(labeled, targets=distributed.share(targets), weight=distributed.share(weight), render=render)

    def _renderer(self, purpose: str, step: Step, ids: NDArray[np.int64]) -> Render:
        def rendered(view: View, draw: int, rows: NDArray[np.int64] | slice) -> Tensor:
            shape = (len(ids), num_draws(view, self.data.domain))
            draws = uniforms(shape, purpose, view, self.seed, step.attempt, step.index, draw)
            local_ids, local_draws = distributed.share(ids)[rows], distributed.share(draws)[rows]
            return self.data.render(local_ids, view, local_draws, device=self.device)

        def mixed(draw: int) -> Tensor:
            # Every other row of the global batch, so that each process gets the same images in a like mix.
            first = int(distributed.share(np.arange(len(ids)))[0]) % 2
            weak, strong = slice(first, None, 2), slice(1 - first, None, 2)
            weak_rows = rendered("weak", draw, weak)
            result = weak_rows.new_empty((len(distributed.share(ids)), *weak_rows.shape[1:]))
            result[weak], result[strong] = weak_rows, rendered("strong", draw, strong)
            return result

        def render(view: str, rows: Tensor | None, draw: int) -> Tensor:
            if view == "mixed":
                return mixed(draw)
            if view not in VIEWS:
                raise ConfigError(f"there is no view {view!r}; {nearest(view, VIEWS)}")
            if rows is None:
                return rendered(view, draw, slice(None))
            if rows.device.type == "cpu":
                return rendered(view, draw, rows.numpy())
            # Reading the chosen rows here would make the host wait for the device; rendering all of them costs less.
            return rendered(view, draw, slice(None))[rows]

        return render

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold to continue with the next batch."""
        return {"consumed": dict(self.consumed), "selected": self.selector.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from where `state` was taken."""
        self.consumed = dict(state["consumed"])
        self.selector.load_state(state["selected"])


def oversampled(targets: Tensor, num_classes: int, strength: float) -> NDArray[np.int64]:
    """Positions of the labeled rows in one epoch, those of rare classes repeated.

    A class with n_k of the labels is drawn in proportion to n_k^(1 - `strength`): 0 leaves every row once, 1 draws all
    classes equally often. The most common class has each of its rows once.
    """
    if strength == 0:
        return np.arange(len(targets))
    labels = (targets if targets.ndim == 1 else targets.argmax(-1)).cpu().numpy()
    counts = np.bincount(labels, minlength=num_classes)
    wanted = np.rint(counts.astype(float) ** (1 - strength) * counts.max() ** strength).astype(np.int64)
    wanted[counts == 0] = 0
    return np.concatenate([np.resize(np.flatnonzero(labels == label), count) for label, count in enumerate(wanted)])


class Selector:
    """Picks the rows that count: exactly where that is free, else into one of four fixed sizes.

    On a device that runs ahead of the host, the number of rows that count is unknown to the host. The size is then
    chosen by the counts of a few steps ago, which have arrived; what does not fit is stood in for by scaling.
    """

    LAG = 4
    BUCKETS = 4

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self._pending: deque[tuple[Tensor, Any]] = deque()

    def select(self, weight: Float[Tensor, "u"]) -> tuple[Int[Tensor, "s"], Float[Tensor, "s"]]:
        """Rows with weight above zero, and their weights in the loss."""
        if self.exact:
            rows = weight.nonzero().squeeze(1)
            return rows, weight[rows]
        scale, rows = weight.topk(self._capacity(len(weight)))
        self._remember((weight > 0).sum())
        return rows, scale * (weight.sum() / scale.sum().clamp(min=1e-12))

    def _capacity(self, count: int) -> int:
        if len(self._pending) < self.LAG:
            return count
        host, event = self._pending.popleft()
        if event is not None:
            event.synchronize()
        share = min(1.0, 1.1 * int(host) / max(1, count))
        return max(1, math.ceil(math.ceil(share * self.BUCKETS) / self.BUCKETS * count)) if count else 0

    def _remember(self, count: Int[Tensor, ""]) -> None:
        if not count.is_cuda:
            self._pending.append((count, None))
            return
        host = torch.empty((), dtype=count.dtype, pin_memory=True)
        host.copy_(count, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending.append((host, event))

    def state(self) -> list[int]:
        """The counts not yet used."""
        for _, event in self._pending:
            if event is not None:
                event.synchronize()
        return [int(host) for host, _ in self._pending]

    def load_state(self, counts: list[int]) -> None:
        """Continue with these counts."""
        self._pending = deque((torch.tensor(count), None) for count in counts)
