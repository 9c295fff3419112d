"""Networks of timm and torchvision, with the head replaced and any number of input channels."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.arguments import quoted
from understudy.core.errors import UserError, nearest
from understudy.models.heads import find_head
from understudy.models.normalize import Normalize
from understudy.models.weights import first_convolution, first_line, fit_channels, load_weights, read_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Borrowed(nn.Module):
    """A library's network behind a normalization layer, so that it too takes floats in [0, 1]."""

    def __init__(self, normalize: Normalize, network: nn.Module) -> None:
        super().__init__()
        self.normalize, self.network = normalize, network

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        logits: Tensor = self.network(self.normalize(x))
        return logits


def timm_config(name: str) -> Any:
    """What timm knows of the network of that name and its weights.

    Raises:
        UserError: timm is not installed, or the name is unknown.
    """
    timm = _import("timm")
    architecture = name.split(".", 1)[0]
    if not timm.is_model(architecture):
        raise UserError(f"timm has no network {quoted(name)}; {_similar(architecture, timm.list_models())}")
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tagged = timm.list_pretrained(f"{architecture}.*")
        raise UserError(f"timm has no network {quoted(name)}; {nearest(name, [architecture, *tagged])}") from error


def build_timm(
    name: str, shape: tuple[int, ...], num_classes: int, pretrained: bool, weights_file: str | Path | None
) -> nn.Module:
    """The timm network of that name, made for the size of the images where it depends on one.

    Raises:
        UserError: timm is not installed, the name is unknown, or the weights cannot be loaded.
    """
    timm, config = _import("timm"), timm_config(name)
    loads = pretrained or weights_file is not None
    settings: dict[str, Any] = {"num_classes": num_classes, "in_chans": shape[0], "pretrained": loads}
    if loads:  # timm loads strictly only when the class counts agree, so the head is replaced afterwards
        settings["num_classes"] = config.num_classes
    if weights_file is not None:
        settings["num_classes"] = _classes_in_file(weights_file, config)
        settings["pretrained_cfg_overlay"] = {"file": str(weights_file), "num_classes": settings["num_classes"]}
    try:
        with _errors_alone("huggingface_hub"):
            try:
                network = timm.create_model(name, img_size=tuple(shape[1:]), **settings)
            except TypeError:  # a convolutional network, which takes any size and has no such argument
                network = timm.create_model(name, **settings)
        if loads:
            network.reset_classifier(num_classes)
    except Exception as error:
        raise _refusal(f"timm:{name}", pretrained, weights_file, error) from error
    if pretrained:
        logging.getLogger(__name__).info("%s", weights_note(f"timm:{name}"))
    return Borrowed(_normalize(shape[0], loads, tuple(config.mean), tuple(config.std)), network)


def check_torchvision(name: str) -> None:
    """Validate the name of a torchvision classifier.

    Raises:
        UserError: torchvision is not installed, or the name is unknown.
    """
    models = _import("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"torchvision has no classifier {quoted(name)}; {_similar(name, known)}")


def build_torchvision(
    name: str, shape: tuple[int, ...], num_classes: int, pretrained: bool, weights_file: str | Path | None
) -> nn.Module:
    """The torchvision classifier of that name.

    Raises:
        UserError: torchvision is not installed, the name is unknown, or the weights cannot be loaded.
    """
    models = _import("torchvision.models")
    check_torchvision(name)
    settings = {"init_weights": True} if name in ("googlenet", "inception_v3") and not pretrained else {}
    try:
        network = models.get_model(name, weights="DEFAULT" if pretrained else None, **settings)
    except Exception as error:
        raise _refusal(f"torchvision:{name}", pretrained, None, error) from error
    if hasattr(network, "aux_logits"):
        network.aux_logits = False  # side outputs would make the training forward return a tuple
    head_name, head = find_head(network)
    network.set_submodule(head_name, nn.Linear(head.in_features, num_classes))
    _replace_first_convolution(network, shape[0])
    if weights_file is not None:
        load_weights(network, weights_file)
    loads = pretrained or weights_file is not None
    return Borrowed(_normalize(shape[0], loads, IMAGENET_MEAN, IMAGENET_STD), network)


def weights_note(name: str) -> str | None:
    """One sentence on the licence of a network's published weights, or None when there is none to tell."""
    library, _, rest = name.partition(":")
    if library == "timm":
        config = _import("timm").get_pretrained_cfg(rest)
        licence = getattr(config, "license", None)
        return f"The pretrained weights of {name} are under the licence {licence or 'unknown'}; see its model card."
    if library == "torchvision":
        return (
            f"The pretrained weights of {name} were trained on ImageNet, whose terms are for non-commercial research."
        )
    return None


def _classes_in_file(path: str | Path, config: Any) -> int:
    """Rows of the head in a file of weights, which are the classes it was trained on."""
    weight = read_weights(path).get(f"{config.classifier}.weight")
    return int(config.num_classes) if weight is None else len(weight)


def _replace_first_convolution(network: nn.Module, channels: int) -> None:
    found = first_convolution(network)
    if found is None or found[1].in_channels == channels:
        return
    name, old = found
    new = nn.Conv2d(
        channels,
        old.out_channels,
        (old.kernel_size[0], old.kernel_size[1]),
        stride=(old.stride[0], old.stride[1]),
        padding=old.padding if isinstance(old.padding, str) else (old.padding[0], old.padding[1]),
        bias=old.bias is not None,
    )
    new.weight.data.copy_(fit_channels(old.weight.data, channels))
    if old.bias is not None and new.bias is not None:
        new.bias.data.copy_(old.bias.data)
    network.set_submodule(name, new)


def _normalize(channels: int, fixed: bool, mean: tuple[float, ...], std: tuple[float, ...]) -> Normalize:
    """The normalization the weights were trained with, or one still to be fitted where there are no weights."""
    if not fixed:
        return Normalize(channels)
    if channels != len(mean):
        mean, std = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
    return Normalize(channels, mean, std)


@contextlib.contextmanager
def _errors_alone(library: str) -> Iterator[None]:
    """Silence a library's warnings, such as one for each of ten attempts at a download; errors are still logged."""
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _import(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        package = library.partition(".")[0]
        raise UserError(f"{package} is not installed; pip install 'understudy[zoo]' brings it") from error


def _similar(name: str, known: list[str]) -> str:
    """A hint for an unknown name that does not print the thousand names a library has."""
    return nearest(name, known).partition("allowed: ")[0].strip() or "see its list_models() for all names"


def _refusal(name: str, pretrained: bool, weights_file: str | Path | None, error: Exception) -> UserError:
    if weights_file is not None:
        return UserError(
            f"{weights_file} does not fit {name}: {first_line(error)}; give weights saved from the same network"
        )
    if pretrained:
        return UserError(
            f"the pretrained weights of {name} could not be had ({first_line(error)}); "
            "go online, give weights_file=, or leave pretrained out"
        )
    return UserError(f"{name} cannot be made for these images: {first_line(error)}; take another network or size")
