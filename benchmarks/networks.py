"""What each network costs to train: images per CPU second forward and backward, multiplications and parameters.

    python benchmarks/networks.py [--seconds 6] [--batch-size 32] [--px 32]

One thread, random images, train mode, no optimizer step. `bfloat16` is automatic mixed precision on channels-last
tensors; on a processor without bfloat16 instructions it is emulated, and the record shows how slow that is.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import write
from understudy.models import build, names
from understudy.models.normalize import PatchWhitening

LAYOUTS = {
    "float32": (torch.float32, torch.contiguous_format),
    "float32_channels_last": (torch.float32, torch.channels_last),
    "bfloat16_channels_last": (torch.bfloat16, torch.channels_last),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU seconds per network and layout")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--px", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    result, started = {}, time.process_time()
    for name in [name for name in names() if name != "mlp"]:
        network = build(name, shape=(3, arguments.px, arguments.px), num_classes=10)
        row: dict[str, float] = {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "mmac": round(multiplications(network, arguments.px) / 1e6, 1),
        }
        for layout in LAYOUTS:
            row[layout] = round(
                images_per_cpu_s(network, layout, arguments.batch_size, arguments.px, arguments.seconds), 1
            )
        result[name] = row
        print(f"{name:14}" + "".join(f"  {key} {value:,}" for key, value in row.items()), flush=True)
    cpu_s = round(time.process_time() - started, 1)
    path = write("networks", result, seeds=[0], n=arguments.batch_size, seconds={"cpu_s": cpu_s})
    print(f"written to {path.name}")


def images_per_cpu_s(network: nn.Module, layout: str, batch_size: int, px: int, seconds: float) -> float:
    """Images forwarded and backwarded per CPU second, after one step that is not counted; the best of the steps."""
    dtype, memory_format = LAYOUTS[layout]
    network.to(memory_format=memory_format)
    x = torch.rand(batch_size, 3, px, px).contiguous(memory_format=memory_format)
    targets = torch.arange(batch_size) % 10
    costs: list[float] = []
    while len(costs) < 2 or (sum(costs) < seconds and len(costs) < 50):
        before = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            logits = network(x)
        F.cross_entropy(logits.float(), targets).backward()
        network.zero_grad(set_to_none=True)
        costs.append(time.process_time() - before)
    return batch_size / min(costs[1:])


@torch.no_grad()
def multiplications(network: nn.Module, px: int) -> int:
    """Multiplications of one image's forward in convolutions and linear layers."""
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        total += weight.numel() * output[0, 0].numel() if output.ndim == 4 else weight.numel()

    counted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | PatchWhitening)]
    handles = [module.register_forward_hook(count) for module in counted]
    network.eval()(torch.rand(1, 3, px, px))
    network.train()
    for handle in handles:
        handle.remove()
    return total


if __name__ == "__main__":
    main()
