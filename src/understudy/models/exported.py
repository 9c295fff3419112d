"""Networks saved by `torch.export`: loaded, trained and evaluated like any module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from understudy.core.errors import UserError

SUFFIX = ".pt2"
# Operators that behave differently in training, with the place of the argument that says so.
_MODES = {"aten.dropout.default": 2, "aten.feature_dropout.default": 2, "aten.batch_norm.default": 5}


class Exported(nn.Module):
    """An exported program with `train` and `eval`, which `torch.export` leaves out of its modules."""

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> Exported:
        """Switch dropout and batch norm of the program."""
        self.training = mode
        changed = False
        for node in self.program.graph.nodes:
            place = _MODES.get(str(node.target))
            if place is not None and node.args[place] != mode:
                node.update_arg(place, mode)
                changed = True
        if changed:
            self.program.recompile()
        return self

    def forward(self, x: Tensor) -> Any:
        """What the program gives."""
        return self.program(x)


def load_exported(path: str | Path) -> Exported:
    """The network in a file that `torch.export.save` wrote.

    Raises:
        UserError: The file is missing or no exported program, or the program cannot be trained.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"network is {str(path)!r}, and there is no such file; check the path")
    try:
        program = torch.export.load(path)
        module = program.module()
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"network is {str(path)!r}, which is no program of torch.export ({reason}); save one with "
            "torch.export.save(torch.export.export(...), path)"
        ) from error
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    shape = getattr(inputs[0].meta.get("val"), "shape", ()) if len(inputs) == 1 else ()
    if not shape:
        raise UserError(f"{path} takes {len(inputs)} inputs; export a network that takes one batch of images")
    if isinstance(shape[0], int):
        raise UserError(
            f"{path} was exported for batches of {shape[0]} alone; export it with a dynamic batch: "
            'dynamic_shapes=({0: torch.export.Dim("batch")},)'
        )
    if any(node.args[place] for node in module.graph.nodes if (place := _MODES.get(str(node.target))) is not None):
        raise UserError(f"{path} was exported in training mode; call eval() on the network before torch.export.export")
    return Exported(module).eval()
