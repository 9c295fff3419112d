"""The classifier's last linear layer: where it is, what enters it, and whether the network around it fits the data."""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.errors import UserError, nearest

MLP_HEAD = "+mlp"
"""What follows a network's name when a perceptron of two layers stands in place of its head."""
_WANTED = "let its logits come from an nn.Linear on one vector per row, defined after all other linear layers"


def feature_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d] | None:
    """Name and module of the layer whose input is the features: the last linear layer, else the last convolution.

    A network like SqueezeNet ends in a convolution and a pooling. None where the network has neither layer.
    """
    layers = list(network.named_modules())
    linear = [(name, module) for name, module in layers if isinstance(module, nn.Linear)]
    convolutions = [(name, module) for name, module in layers if isinstance(module, nn.Conv2d)]
    return linear[-1] if linear else convolutions[-1] if convolutions else None


def find_head(network: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the network's last linear layer, which is taken to give the logits.

    Raises:
        UserError: the network has no linear layer.
    """
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise UserError(f"{type(network).__name__} has no nn.Linear whose input could be its features; {_WANTED}")
    return found[-1]


def feature_width(network: nn.Module) -> int:
    """Width of the network's features; 0 where it has no layer whose input they could be."""
    layer = feature_layer(network)
    if layer is None:
        return 0
    return layer[1].in_features if isinstance(layer[1], nn.Linear) else layer[1].in_channels


def with_head(network: nn.Module, head: nn.Module) -> nn.Module:
    """The same network, its last linear layer replaced."""
    name = find_head(network)[0]
    if not name:
        return head
    network.set_submodule(name, head)
    return network


def logits_and_features(
    network: nn.Module, x: Float[Tensor, "n ..."]
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n d"]]:
    """Logits of one forward and the features in that same forward, both with their gradients.

    Features are the input of the last linear layer; without one, that of the last convolution, averaged over positions.

    Raises:
        UserError: the network has no linear layer, or does not call it with one vector per row.
    """
    layer = feature_layer(network)
    if layer is None:
        raise UserError(f"{type(network).__name__} has no layer whose input could be its features; {_WANTED}")
    name, head = layer
    seen: list[Tensor] = []

    def remember(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["input"])

    handle = head.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        logits = network(x)
    finally:
        handle.remove()
    if seen and isinstance(head, nn.Conv2d):
        seen[-1] = seen[-1].flatten(2).mean(2)
    if not seen or seen[-1].ndim != 2 or len(seen[-1]) != len(x):
        what = f"gets {tuple(seen[-1].shape)}" if seen else "is not called"
        raise UserError(
            f"the last linear layer of {type(network).__name__}, {name!r}, {what} for a batch of {len(x)}, "
            f"so its input is not one feature vector per row; {_WANTED}"
        )
    return logits, seen[-1]


@torch.no_grad()
def check_features(network: nn.Module, shape: tuple[int, ...], method: str) -> None:
    """Run a made-up batch of two rows through a copy of the network, and look for its features.

    Raises:
        UserError: It has none that the method could use.
    """
    with torch.random.fork_rng(devices=[]):
        probed = copy.deepcopy(network).eval()
        try:
            logits_and_features(probed, _probe_batch(probed, shape))
        except UserError as error:
            raise UserError(f"method {method} needs features, and {error}, or choose another method") from None


def layers_named(network: nn.Module, names: str) -> list[nn.Module]:
    """The parts of a network that a list of names asks for: `body.0, body.1`, or `backbone`, all but the head.

    Raises:
        UserError: a name is none of the network's, or nothing would be left to train.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    modules = {name: module for name, module in network.named_modules() if name}
    found: list[nn.Module] = []
    for name in wanted:
        if name == "backbone":
            head = find_head(network)[0]
            found += [module for key, module in modules.items() if not f"{head}.".startswith(f"{key}.")]
        elif name in modules:
            found.append(modules[name])
        else:
            raise UserError(f"{type(network).__name__} has no layer {name!r}; {nearest(name, ('backbone', *modules))}")
    kept = {id(parameter) for module in found for parameter in module.parameters()}
    if wanted and all(id(parameter) in kept for parameter in network.parameters()):
        raise UserError(
            f"freeze={names} leaves nothing of {type(network).__name__} to train; keep at least the head "
            f"{find_head(network)[0]!r} out of it"
        )
    return found


@torch.no_grad()
def check_network(network: nn.Module, shape: tuple[int, ...], num_classes: int) -> None:
    """Run a made-up batch of two rows through the network in evaluation mode and leave the network as it was.

    Raises:
        UserError: the network does not take such rows, or does not give one logit per class.
    """
    name = type(network).__name__
    x = _probe_batch(network, shape)
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers() if not nn.parameter.is_lazy(buffer)]
    try:
        with torch.random.fork_rng(devices=[]):
            output = network.eval()(x)
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{name} does not take {_rows(shape)}{_channels(network, shape)}: {reason}; "
            "change the network, or the size and channels of the images"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, saved in buffers:
            buffer.copy_(saved)
    _check_output(name, output, num_classes)


def _probe_batch(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    parameters = [parameter for parameter in network.parameters() if not nn.parameter.is_lazy(parameter)]
    like = parameters[0] if parameters else torch.zeros(())
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


def _check_output(name: str, output: object, num_classes: int) -> None:
    if not isinstance(output, Tensor):
        raise UserError(f"{name} returns a {type(output).__name__}; it must return one tensor of logits")
    if output.is_meta or output.layout != torch.strided:
        raise UserError(
            f"{name} returns a tensor of layout {output.layout} on device {output.device}; it must return a plain "
            "tensor of logits"
        )
    if not output.is_floating_point():
        raise UserError(f"{name} returns a tensor of type {output.dtype}; it must return logits as floats")
    if output.ndim != 2 or len(output) != 2:
        raise UserError(
            f"{name} returns a tensor of shape {tuple(output.shape)} for 2 rows; it must be (2, {num_classes}), "
            "one logit per row and class"
        )
    if output.shape[1] != num_classes:
        raise UserError(
            f"{name} gives {output.shape[1]} logits and the data has {num_classes} classes; "
            f"make its last layer {num_classes} wide"
        )
    if not output.isfinite().all():
        raise UserError(f"{name} gives logits that are not finite on inputs in [0, 1]; check its weights")
    if (
        (output >= 0).all()
        and (output <= 1).all()
        and torch.allclose(output.float().sum(1), torch.ones(2).to(output.device), atol=1e-3)
    ):
        raise UserError(f"{name} returns probabilities; it must return logits, so remove its last softmax")


def _rows(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return f"images of {shape[0]} channel{'s' * (shape[0] != 1)} and {shape[1]}x{shape[2]} px"
    return f"rows of shape {shape}"


def _channels(network: nn.Module, shape: tuple[int, ...]) -> str:
    """What the first convolution wants, when it is not what the images have."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or len(shape) != 3 or first.in_channels == shape[0]:
        return ""
    return f" (its first convolution takes {first.in_channels})"
