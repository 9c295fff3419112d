"""Networks without shortcuts: a two-layer CNN for images and a multi-layer perceptron for vectors."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from understudy.models.normalize import Normalize


class CNN(nn.Module):
    """Two convolutions and two linear layers: 545,098 parameters for 3x32x32 images and 10 classes."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.normalize = Normalize(channels)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 128),
            nn.ReLU(),
        )
        self.head = nn.Linear(128, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        logits: Tensor = self.head(self.features(self.normalize(x)))
        return logits


class MLP(nn.Module):
    """Two hidden layers of 128 for rows of numbers: points in the plane, or features of another network."""

    def __init__(self, shape: tuple[int], num_classes: int, width: int = 128) -> None:
        super().__init__()
        self.normalize = Normalize(shape[0])
        self.features = nn.Sequential(
            nn.Linear(shape[0], width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        logits: Tensor = self.head(self.features(self.normalize(x)))
        return logits
