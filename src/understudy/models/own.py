"""The user's own network: taken from what was given, checked as it is trained, and adapted where that is needed."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.core.arguments import quoted
from understudy.core.errors import UserError, nearest
from understudy.models.exported import SUFFIX, load_exported
from understudy.models.heads import check_network

LIBRARIES = ("timm", "torchvision")
_MAIN_OUTPUTS = ("logits", "out", "output", "main")
_PROBED_ROWS = 4  # batch norm on vectors needs two rows, and GoogLeNet's auxiliary heads are steadier with more


def is_code(name: str) -> bool:
    """Whether a network's name is that of the user's own: `package.module:factory`, `file.py:factory` or `file.pt2`."""
    if name.endswith(SUFFIX):
        return True
    before, colon, after = name.rpartition(":")
    return bool(colon and before and after.isidentifier() and before not in (*LIBRARIES, "module"))


def as_module(given: object) -> nn.Module:
    """The module that was given, or made by the class, function or named code that was given.

    Raises:
        UserError: It is none of these.
    """
    if isinstance(given, str):
        given = _imported(given)
    if not isinstance(given, nn.Module) and callable(given):
        given = _made(given)
    if not isinstance(given, nn.Module):
        raise UserError(
            f"network is {_shown(given)}; give a name such as 'resnet_small', an nn.Module, or a class or function "
            "without arguments that builds one"
        )
    return unwrapped(given)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside torch.compile and DataParallel."""
    while True:
        if isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        else:
            return module


def prepared(
    module: nn.Module,
    shape: tuple[int, ...],
    num_classes: int,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[nn.Module, tuple[str, ...]]:
    """A float32 copy that runs in every layout and returns one tensor of logits, and notes on what was adapted.

    Args:
        ranges: Those of the data set's values, by kind of number; float images reach the network in their own range.

    Raises:
        UserError: The network cannot be copied, does not take such rows, or cannot be trained.
    """
    module = unwrapped(module)
    name, notes = type(module).__name__, list[str]()
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise UserError(f"{name} has weights on the meta device, which hold no values; call to_empty() and initialize")
    network = _copied(module)
    if any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in network.state_dict().values()):
        network = network.float()
        notes.append(f"{name} is trained in float32; its weights are converted back to their own types at the end.")
    network.register_forward_hook(_main_output)
    low, high = (ranges or {}).get("float", (0.0, 1.0))
    if (low, high) != (0.0, 1.0) and len(shape) == 3:
        network.register_forward_pre_hook(_OwnRange(low, high - low))
        notes.append(f"{name} gets pixels from {low:.6g} to {high:.6g}, as the data set gives them.")
    x = torch.rand(_PROBED_ROWS, *shape, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        if any(nn.parameter.is_lazy(parameter) for parameter in network.parameters()):
            with torch.no_grad():
                _probe(network.eval(), x, shape)  # creates the lazy parameters
            network.train()
        check_network(network, shape, num_classes)
        _check_trainable(network, x, shape, num_classes)
        if x.ndim == 4 and not _runs(network, x.contiguous(memory_format=torch.channels_last)):
            network.register_forward_pre_hook(_contiguous_input)
            notes.append(f"{name} does not run in the channels-last layout, so it runs in PyTorch's default layout.")
        if not _runs(network, x, autocast=True):
            network.register_forward_pre_hook(_enter_float32)
            network.register_forward_hook(_leave_float32, always_call=True)
            notes.append(f"{name} does not run in bfloat16, so it runs in float32.")
    if any(_graph_tensors(network)):
        network.register_forward_hook(_forget_graph)
    return network, tuple(notes)


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy weights into the user's module, whatever the types of its tensors and the mode they were made in."""
    module = unwrapped(module)
    if any(nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        module.load_state_dict(dict(state))
        return
    with torch.inference_mode(any(tensor.is_inference() for tensor in module.state_dict().values())):
        module.load_state_dict(dict(state))


def _imported(name: str) -> object:
    """What the named code is; this runs the file or imports the module, or loads an exported program."""
    if name.endswith(SUFFIX):
        return load_exported(name)
    place, _, attribute = name.rpartition(":")
    if not is_code(name):
        raise UserError(f"network is {quoted(name)}; name code as package.module:factory or file.py:factory")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"understudy_network_{Path(place).stem}", place)
            if spec is None or spec.loader is None or not Path(place).is_file():
                raise UserError(f"network is {quoted(name)}, and there is no file {place}; check the path")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # pickle and dataclasses look their module up
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if place.endswith(".py") or error.name != place.partition(".")[0]:
            raise UserError(f"network is {quoted(name)}, and importing {place} failed: {_reason(error)}") from error
        raise UserError(
            f"there is no network {quoted(name)}; no Python module is called {quoted(place)}; allowed: those of "
            "`understudy methods`, timm:NAME, torchvision:NAME, package.module:factory, file.py:factory"
        ) from error
    except Exception as error:
        raise UserError(f"network is {quoted(name)}, and importing {place} failed: {_reason(error)}") from error
    if not hasattr(module, attribute):
        raise UserError(f"{place} has no {attribute!r}; {nearest(attribute, _callables(module))}")
    return getattr(module, attribute)


def _callables(module: object) -> list[str]:
    return [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]


def _made(factory: Any) -> object:
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise UserError(f"network is {name}, which needs arguments ({error}); give a module instead") from None
    except Exception:  # a callable without a signature, or whose own methods raise, is simply called
        pass
    try:
        made: object = factory()
    except Exception as error:
        raise UserError(f"network is {name}, and calling it failed: {_reason(error)}; give a module") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"network is {name}, which returns {_shown(made)}; it must return an nn.Module")
    return made


def _copied(module: nn.Module) -> nn.Module:
    for part, key in _graph_tensors(module):  # such as the weight that nn.utils.weight_norm computes in each forward
        part.__dict__[key] = part.__dict__[key].detach()
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise UserError(
            f"{type(module).__name__} cannot be copied, which averaging its weights needs ({_reason(error)}); "
            "keep locks, open files and connections out of the module"
        ) from error


def _graph_tensors(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Attributes that hold a tensor with a graph, which cannot be copied."""
    return [
        (part, key)
        for part in module.modules()
        for key, value in vars(part).items()
        if isinstance(value, Tensor) and value.grad_fn is not None
    ]


def _check_trainable(network: nn.Module, x: Tensor, shape: tuple[int, ...], num_classes: int) -> None:
    """Run forward and backward in training mode on a copy, whose state may change."""
    name = type(network).__name__
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(f"every parameter of {name} is frozen; set requires_grad of at least its last layer to True")
    unreached = f"no gradient reaches the parameters of {name}; remove detach() and no_grad from its forward"
    trial = _copied(network).train()
    with torch.enable_grad():
        output = _probe(trial, x, shape)
        if not isinstance(output, Tensor) or output.shape != (len(x), num_classes):
            what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(
                f"{name} returns {what} in training mode for {len(x)} rows; it must return logits of shape "
                f"({len(x)}, {num_classes})"
            )
        if output.grad_fn is None:
            raise UserError(unreached)
        try:
            F.cross_entropy(output.float(), torch.zeros(len(x), dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise UserError(f"{name} cannot be trained: its backward pass failed: {_reason(error)}") from error
    if all(parameter.grad is None for parameter in trial.parameters()):
        raise UserError(unreached)


def _probe(network: nn.Module, x: Tensor, shape: tuple[int, ...]) -> object:
    try:
        return network(x)
    except Exception as error:
        rows = f"images of {shape[0]} channels and {shape[1]}x{shape[2]} px" if len(shape) == 3 else f"rows of {shape}"
        mode = "training" if network.training else "evaluation"
        raise UserError(
            f"{type(network).__name__} does not take {rows} in {mode} mode: {_reason(error)}; change the network, or "
            "the size and channels of the images"
        ) from error


def _runs(network: nn.Module, x: Tensor, *, autocast: bool = False) -> bool:
    """Whether forward and backward work on a copy in training mode, and forward in evaluation mode."""
    trial = _copied(network).train()
    try:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = trial(x).float().sum()
        loss.backward()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            trial.eval()(x)
    except Exception:  # whatever fails here but worked in the default layout and float32
        return False
    return True


def _main_output(_network: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
    """The logits among several outputs: the field named so, or the first."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        fields = dict(output)
    elif dataclasses.is_dataclass(output):
        fields = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    elif hasattr(output, "_asdict"):
        fields = output._asdict()
    elif isinstance(output, tuple | list):
        return output[0] if output and isinstance(output[0], Tensor) else output
    else:
        return output
    named = [fields[key] for key in _MAIN_OUTPUTS if isinstance(fields.get(key), Tensor)]
    tensors = [value for value in fields.values() if isinstance(value, Tensor)]
    return (named or tensors or [output])[0]


@dataclasses.dataclass(frozen=True)
class _OwnRange:
    """The pre-hook that turns pixels in [0, 1] back into the values that the user's data set and own code work with."""

    low: float
    span: float

    def __call__(self, _network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self.low + self.span * value if isinstance(value, Tensor) else value for value in args)


def _contiguous_input(_network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in args)


def _enter_float32(network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn autocast off for this forward."""
    context = torch.autocast(args[0].device.type, enabled=False)
    context.__enter__()  # type: ignore[no-untyped-call]
    network.__dict__.setdefault("_understudy_contexts", []).append(context)
    return tuple(value.float() if isinstance(value, Tensor) else value for value in args)


def _leave_float32(network: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
    if contexts := network.__dict__.get("_understudy_contexts"):
        contexts.pop().__exit__(None, None, None)


def _forget_graph(network: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
    """Drop the graph from computed attributes, so that the network can be copied after a forward."""
    for part, key in _graph_tensors(network):
        part.__dict__[key] = part.__dict__[key].detach()


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, int | float | str | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."  # one line of an error


def _reason(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
