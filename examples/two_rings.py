"""Two rings in the plane, seven labels: what each method makes of the same few labels and the same pool.

    python examples/two_rings.py --out two_rings.png

The labels are the first seven points drawn, wherever they fall. The GAN and the Pi-model take as many unlabeled points
a step as the others (`mu=7`), and the Pi-model's consistency weighs 30 instead of 10: seven labels are fitted at once,
and only a strong pull towards equal predictions for near points moves the boundary on from there. Two settings of
training differ from the defaults, and neither was compared by itself: no supervised first phase (`warmup=0`), so that
seven labels alone settle nothing, and a rate of 0.003, so that so few steps go further. All this was found on other
draws.

Methods that compare points with one another (`simmatch`, `comatch`) carry a label around a ring; those that believe
their own confident predictions (`fixmatch`, `pseudo_label`) stop where labels leave a long arc open, and so does the
GAN. The record of several draws is `benchmarks/two_rings.json`; `--seed` shows another.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

import understudy as us
from understudy.augment import DOMAINS
from understudy.core.seeding import seed_torch
from understudy.data.training_data import TrainingData
from understudy.engine.optim import AdamW
from understudy.methods.base import METHODS
from understudy.models import build

NUM_LABELS, NUM_POINTS, NUM_STEPS, NUM_TEST = 7, 4000, 1500, 4000
METHOD_SETTINGS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "sgan": {"mu": 7},
    "pi_model": {"mu": 7, "lambda_u": 30.0},
    "simmatch": {},
    "comatch": {},
}
INNER, OUTER, BELT = "#0072B2", "#E69F00", "#000000"  # of Okabe and Ito's palette, which color-blind people tell apart
EDGE = 2.7


@dataclass
class Drawn:
    """One trained method: its classifier, accuracy on fresh points, cost, and the points a generator made last."""

    model: torch.nn.Module
    accuracy: float
    cpu_s: float
    belt: np.ndarray | None


def rings(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [n 2] on rings of radius 1 and 2 in turn, and the ring of each."""
    random = np.random.default_rng(seed)
    ring = np.arange(count) % 2
    radius, angle = 1.0 + ring + random.normal(0, 0.05, count), random.uniform(0, 2 * np.pi, count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), ring


def train(name: str, seed: int, num_steps: int = NUM_STEPS) -> Drawn:
    """The method trained on the seed's points and initial weights, which are the same for every method."""
    points, ring = rings(seed, NUM_POINTS)
    rows = torch.from_numpy(points)
    data = TrainingData(
        rows=rows,
        labeled=np.arange(NUM_LABELS),
        targets=torch.from_numpy(ring[:NUM_LABELS]),
        unlabeled=np.arange(NUM_LABELS, NUM_POINTS),
        classes=("inner", "outer"),
        domain=DOMAINS["vector"],
        scale=rows.std(0),
    )
    seed_torch("initial weights", seed)
    method = METHODS.get(name)(**METHOD_SETTINGS[name])
    settings = us.Settings(
        method=method, optimizer=AdamW(lr=0.003), seed=seed, batch_size=32, warmup=0.0, device="cpu", dtype="float32"
    )
    network = build("mlp", shape=(2,), num_classes=2)
    stage = us.Stage(settings=settings, data=data, network=network, budget=us.Budget(steps=num_steps))
    pictures: dict[str, torch.Tensor] = {}
    begun = time.process_time()
    trained = us.fit(stage, observe=[lambda report: pictures.update(report.pictures)])
    cpu_s = time.process_time() - begun
    fresh, truth = rings(seed + 1_000_000, NUM_TEST)
    accuracy = float((logits(trained.model, fresh).argmax(-1) == truth).mean())
    made = pictures.get("generated")
    return Drawn(trained.model, accuracy, cpu_s, None if made is None else made.numpy())


def logits(model: torch.nn.Module, points: np.ndarray) -> np.ndarray:
    """The classifier's logits [n 2] of the points."""
    with torch.no_grad():
        return model(torch.from_numpy(points)).numpy()


def draw(found: dict[str, Drawn], seed: int, path: Path) -> None:
    """A panel for each method, and a last one that explains the signs."""
    figure = Figure(figsize=(12, 9), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.12))
    panels = figure.subplots(2, 3).flat
    points, ring = rings(seed, NUM_POINTS)
    side = np.linspace(-EDGE, EDGE, 241, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    for (name, drawn), axes in zip(found.items(), panels, strict=False):
        lead = np.subtract(*logits(drawn.model, grid.reshape(-1, 2)).T).reshape(len(side), len(side))
        axes.contourf(side, side, lead, levels=[-np.inf, 0, np.inf], colors=[OUTER, INNER], alpha=0.3)
        axes.contour(side, side, lead, levels=[0], colors="black", linewidths=1.8)
        axes.scatter(*points[NUM_LABELS:].T, s=2, color="#777777", alpha=0.35, linewidths=0)
        if drawn.belt is not None:
            axes.scatter(*drawn.belt.T, s=30, marker="x", color=BELT, linewidths=1.3)
        for label, (color, marker) in enumerate(((INNER, "o"), (OUTER, "s"))):
            known = points[:NUM_LABELS][ring[:NUM_LABELS] == label]
            axes.scatter(*known.T, s=130, marker=marker, color=color, edgecolor="white", linewidths=2, zorder=3)
        axes.set_title(f"{name}: {100 * drawn.accuracy:.1f} %", fontsize=15)
        axes.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal", xticks=[], yticks=[])
    signs = [
        ("label: inner ring", {"marker": "o", "color": INNER, "markersize": 11}),
        ("label: outer ring", {"marker": "s", "color": OUTER, "markersize": 11}),
        ("unlabeled point", {"marker": ".", "color": "#777777"}),
        ("point the GAN made up", {"marker": "x", "color": BELT}),
    ]
    handles = [Line2D([], [], linestyle="none", label=text, **style) for text, style in signs]
    handles.append(Line2D([], [], color="black", linewidth=1.8, label="boundary of the two classes"))
    last = figure.axes[-1]
    last.axis("off")
    last.legend(handles=handles, loc="center", fontsize=14, frameon=False, labelspacing=1.1)
    figure.suptitle(
        f"{NUM_LABELS} labels, {NUM_POINTS - NUM_LABELS:,} unlabeled points; accuracy on fresh points", size=17
    )
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train every method on one draw of points, print the accuracies, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("two_rings.png"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = {}
    for name in METHOD_SETTINGS:
        found[name] = train(name, arguments.seed)
        print(f"{name:<13}{100 * found[name].accuracy:6.1f} %  {found[name].cpu_s:5.1f} CPU-s", flush=True)
    draw(found, arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
