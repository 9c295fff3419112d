"""The input layers: images arrive as floats in [0, 1], and statistics measured once on training rows do the rest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

ENOUGH_PATCHES = 400_000  # the covariance of 48 values per patch is then exact to a fraction of a percent


class Normalize(nn.Module):
    """Rows with zero mean and unit variance per channel (images) or per feature (vectors)."""

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(
        self, channels: int, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels,), 0.5) if mean is None else torch.tensor(mean))
        self.register_buffer("std", torch.full((channels,), 0.25) if std is None else torch.tensor(std))
        self.register_buffer("fitted", torch.tensor(mean is not None))

    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        shape = (-1,) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    @torch.no_grad()
    def fit(self, rows: Float[Tensor, "n ..."]) -> None:
        """Measure mean and deviation; a channel that never varies keeps a deviation of 1."""
        total = square = torch.zeros(len(self.mean), dtype=torch.float64)
        for part in torch.split(rows, 1024):
            values = part.transpose(0, 1).flatten(1).double()
            total = total + values.sum(1).cpu()
            square = square + values.square().sum(1).cpu()
        count = rows.numel() / len(self.mean)
        mean = total / count
        std = (square / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-4, std, torch.ones_like(std)))
        self.fitted.fill_(True)


class PatchWhitening(nn.Module):
    """A frozen convolution whose filters are the principal patches of the training images, whitened, in both signs.

    A linear layer behind it starts on decorrelated inputs and needs no labels to get there (Page, "How to train your
    ResNet 8"; Jordan, arXiv 2404.00498). The bias is trained, the filters are a buffer.
    """

    weight: Tensor
    fitted: Tensor

    def __init__(self, channels: int, patch: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.patch, self.stride, self.padding = patch, stride, padding
        dims = channels * patch * patch
        self.out_channels = 2 * dims
        basis = torch.linalg.qr(torch.randn(dims, dims))[0]
        self.register_buffer("weight", self._filters(basis, torch.ones(dims), channels))
        self.bias = nn.Parameter(torch.zeros(self.out_channels))
        self.register_buffer("fitted", torch.tensor(False))

    def _filters(self, vectors: Tensor, values: Tensor, channels: int) -> Float[Tensor, "f c p p"]:
        whitened = (vectors / values.sqrt()).T.reshape(-1, channels, self.patch, self.patch)
        return torch.cat([whitened, -whitened]).contiguous()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f h2 w2"]:
        return F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)

    def sample(self, rows: Float[Tensor, "n c h w"]) -> Int[Tensor, " m"]:
        """Evenly spaced rows, just enough to hold as many patches as the covariance needs."""
        per_row = (rows.shape[2] - self.patch + 1) * (rows.shape[3] - self.patch + 1)
        keep = max(1, min(len(rows), ENOUGH_PATCHES // per_row))
        return torch.linspace(0, len(rows) - 1, keep, dtype=torch.float64).round().long().to(rows.device)

    @torch.no_grad()
    def fit(self, rows: Float[Tensor, "n c h w"]) -> None:
        """Set the filters from the patch covariance of the rows, on the CPU in float64 so that all devices agree."""
        dims = self.weight[0].numel()
        total, count = torch.zeros(dims, dims, dtype=torch.float64), 0
        for part in torch.split(rows, 64):
            patches = F.unfold(part.float(), self.patch).transpose(1, 2).reshape(-1, dims).cpu().double()
            total += patches.T @ patches
            count += len(patches)
        values, vectors = torch.linalg.eigh(total / count)
        floor = 1e-3 * values.max().clamp(min=1e-12)
        self.weight.copy_(self._filters(vectors, values.clamp(min=0) + floor, self.weight.shape[1]))
        self.fitted.fill_(True)


@torch.no_grad()
def fit_input(network: nn.Module, rows: Float[Tensor, "n ..."]) -> None:
    """Fit the network's input layers on training rows, once: a layer already fitted, or loaded fitted, stays as it is.

    A module without these layers (one of the user's own, say) is left alone: it gets floats in [0, 1].
    """
    normalize = next((module for module in network.modules() if isinstance(module, Normalize)), None)
    whitening = next((module for module in network.modules() if isinstance(module, PatchWhitening)), None)
    if normalize is not None and not normalize.fitted:
        normalize.fit(rows)
    if whitening is not None and not whitening.fitted:
        few = rows[whitening.sample(rows)]
        whitening.fit(few if normalize is None else normalize(few))
