"""Whether a network given to a recipe has learned anything yet."""

from __future__ import annotations

import torch

from understudy.core.seeding import seed_torch
from understudy.engine.stage import Stage
from understudy.models import build, names
from understudy.models.zoo import LIBRARIES


def is_fresh(stage: Stage) -> bool:
    """Whether the stage's network, if it is known by name, has learned nothing: it is what its name and seed give."""
    if stage.network_name not in names() and stage.network_name.partition(":")[0] not in LIBRARIES:
        return False
    seed_torch("initial weights", stage.settings.seed)
    fresh = build(stage.network_name, shape=stage.data.row_shape, num_classes=len(stage.data.classes)).state_dict()
    given = stage.network.state_dict()
    return given.keys() == fresh.keys() and all(torch.equal(given[name].cpu(), fresh[name]) for name in fresh)
