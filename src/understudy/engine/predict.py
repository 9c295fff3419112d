"""The one prediction loop: rows in, class probabilities or features out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.core.types import Observe
from understudy.data.training_data import TrainingData
from understudy.models.heads import feature_width, logits_and_features
from understudy.models.nets import Execution, running

_ROWS_AT_ONCE = 256  # enough to keep a device busy, few enough for the memory that training has left
_PIXELS_AT_ONCE = _ROWS_AT_ONCE * 3 * 32 * 32 * 4  # 256 color images of 64 px; of larger ones fewer


@torch.no_grad()
def predict(
    network: nn.Module,
    data: TrainingData,
    ids: NDArray[np.int64],
    *,
    device: torch.device | None = None,
    execution: Execution | None = None,
    test_time_averaging: bool = False,
    observe: Observe | None = None,
) -> NDArray[np.float32]:
    """Class probabilities (n, k) of the plain views of the rows, by the network in evaluation mode.

    Args:
        test_time_averaging: Average the logits over small shifts, and over the mirror image where the domain has one.
        observe: Called with (rows done, rows in all) after each chunk.
    """

    def probabilities(x: Tensor) -> Tensor:
        logits = _averaged_logits(network, x, data) if test_time_averaging else network(x).float()
        return logits.softmax(-1)

    results = list(_chunks(network, data, ids, probabilities, device, execution, observe))
    return np.concatenate(results) if results else np.zeros((0, len(data.classes)), dtype=np.float32)


@torch.no_grad()
def features(
    network: nn.Module,
    data: TrainingData,
    ids: NDArray[np.int64],
    *,
    device: torch.device | None = None,
    execution: Execution | None = None,
    observe: Observe | None = None,
) -> NDArray[np.float32]:
    """What the network's last linear layer is given (n, d) for the plain views of the rows, in evaluation mode."""

    def inner(x: Tensor) -> Tensor:
        return logits_and_features(network, x)[1].float()

    results = list(_chunks(network, data, ids, inner, device, execution, observe))
    return np.concatenate(results) if results else np.zeros((0, feature_width(network)), dtype=np.float32)


def _chunks(
    network: nn.Module,
    data: TrainingData,
    ids: NDArray[np.int64],
    run: Callable[[Tensor], Tensor],
    device: torch.device | None,
    execution: Execution | None,
    observe: Observe | None,
) -> Iterator[NDArray[np.float32]]:
    """What `run` makes of the rows, a chunk at a time, with the network in evaluation mode."""
    device = device or next((p.device for p in network.parameters()), torch.device("cpu"))
    execution = execution or Execution()
    width = max(1, int(np.prod(data.row_shape)))
    at_once = max(1, min(_ROWS_AT_ONCE, _PIXELS_AT_ONCE // width))
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        for start in range(0, len(ids), at_once):
            x = data.render(ids[start : start + at_once], "plain", device=device)
            with running(execution, x) as laid_out:
                result = run(laid_out)
            yield result.cpu().numpy()
            if observe is not None:
                observe(min(len(ids), start + at_once), len(ids))
    finally:
        for module, mode in modes:
            module.training = mode


def _averaged_logits(network: nn.Module, x: Float[Tensor, "n c h w"], data: TrainingData) -> Float[Tensor, "n k"]:
    """Logits averaged over the image, two diagonal shifts of it, and the mirrors of these where allowed."""
    if x.ndim != 4:
        return network(x).float()  # type: ignore[no-any-return]
    shift = max(1, x.shape[-1] // 16)
    size = x.shape[-1]
    padded = torch.nn.functional.pad(x, [shift] * 4, mode="reflect")
    views = [x, padded[:, :, :size, :size], padded[:, :, -size:, -size:]]
    if data.domain.hflip:
        views += [view.flip(-1) for view in views]
    return torch.stack([network(view).float() for view in views]).mean(0)
