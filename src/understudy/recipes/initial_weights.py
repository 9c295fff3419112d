"""Whether a network given to a recipe has learned anything yet."""

from __future__ import annotations

import torch

from understudy.core.seeding import seed_torch
from understudy.engine.stage import Stage
from understudy.models import build, names


def is_fresh(stage: Stage) -> bool:
    """Whether the stage's network is one of this package that has learned nothing: what its name and seed give."""
    if stage.network_name not in names():
        return False
    seed_torch("initial weights", stage.settings.seed)
    fresh = build(stage.network_name, shape=stage.data.row_shape, num_classes=len(stage.data.classes)).state_dict()
    given = stage.network.state_dict()
    return given.keys() == fresh.keys() and all(torch.equal(given[name].cpu(), fresh[name]) for name in fresh)
