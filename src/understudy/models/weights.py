"""Weights from a file: what fits is loaded, the head may differ, and anything else that differs is an error."""

from __future__ import annotations

import textwrap
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.errors import UserError
from understudy.models.heads import find_head

WRAPPERS = ("state_dict", "model")
_MAX_REASON = 160  # characters of torch's message; the first two lines name the layer


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file, or from a file of `torch.save`, which is read without running code.

    Raises:
        UserError: the file is missing, or holds no such tensors.
    """
    file = existing(path)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{file} cannot be read as weights ({first_line(error)}); give a .safetensors file, or a state_dict "
            "written by torch.save"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{file} holds no state_dict; give the file that torch.save(network.state_dict(), file) writes")
    return content


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a file into a network; a head of another class count stays new, a first convolution is fit to the channels.

    Raises:
        UserError: a tensor is missing, left over, or of another shape.
    """
    weights, own = read_weights(path), network.state_dict()
    head, _ = find_head(network)
    if any(
        f"{head}.{part}" in weights and weights[f"{head}.{part}"].shape != own[f"{head}.{part}"].shape
        for part in ("weight", "bias")
    ):
        weights |= {f"{head}.{part}": own[f"{head}.{part}"] for part in ("weight", "bias")}
    first = first_convolution(network)
    if first is not None and f"{first[0]}.weight" in weights:
        name = f"{first[0]}.weight"
        weights[name] = fit_channels(weights[name], first[1].in_channels)
    wrong = [
        f"{name} is {tuple(weights[name].shape)} and not {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    wrong += [f"{name} is missing" for name in own if name not in weights] + [
        f"{name} is not in the network" for name in weights if name not in own
    ]
    if wrong:
        raise UserError(
            f"{path} does not fit {type(network).__name__}: {wrong[0]}"
            f"{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}; give weights saved from the same network"
        )
    network.load_state_dict(weights)


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Name and module of the first convolution, which reads the image."""
    return next(((name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d)), None)


def fit_channels(weight: Float[Tensor, "o c kh kw"], channels: int) -> Float[Tensor, "o c2 kh kw"]:
    """The filters for another number of channels, with the same response to an image whose channels are equal."""
    if weight.shape[1] == channels:
        return weight
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1).div(channels).contiguous()


def existing(path: str | Path) -> Path:
    """The path, which leads to a file.

    Raises:
        UserError: it does not.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no weights file {file}; give a .safetensors or .pth file")
    return file


def first_line(error: Exception) -> str:
    """The start of an error's message, on one line; what kind of error it is where that says more than its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = textwrap.shorten(" ".join(lines[:2]), _MAX_REASON, placeholder=" ...")
    return text if " " in text else type(error).__name__
