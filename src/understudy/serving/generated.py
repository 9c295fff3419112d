"""The generator of a finished `sgan` run: loaded from the run folder, and asked for rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.errors import RunFolderError
from understudy.core.seeding import generator as draws
from understudy.engine.rundir import load_tensors
from understudy.models.generators import generator

FILE = "generator.safetensors"


@dataclass(frozen=True, eq=False)
class Sampler:
    """A trained generator.

    Args:
        latent_width: Random numbers that a row is made of.
    """

    network: nn.Module
    latent_width: int

    @classmethod
    def load(cls, folder: str | Path) -> Sampler:
        """The generator of a run, or of the part of it that `sgan` trained.

        Raises:
            RunFolderError: The folder has no generator, or its file is damaged.
        """
        folder = Path(folder)
        found = sorted(folder.rglob(FILE))
        if not found:
            raise RunFolderError(f"{folder} has no {FILE}; name the folder of a finished run of the method sgan")
        loaded = load_tensors(found[0])
        if loaded is None or "rows" not in loaded[1]:
            raise RunFolderError(f"{found[0]} is damaged; train again")
        tensors, meta = loaded
        latent_width = next(tensors[name].shape[1] for name in ("start.weight", "spread.weight") if name in tensors)
        network = generator(tuple(json.loads(meta["rows"])["shape"]), latent_width)
        network.load_state_dict(tensors)
        return cls(network.eval(), latent_width)

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0) -> Float[Tensor, "n ..."]:
        """Generated rows: images (n, c, h, w) in [0, 1], or vectors."""
        latents = draws("sample", seed).standard_normal((count, self.latent_width), dtype="float32")
        rows: Tensor = self.network(torch.from_numpy(latents))
        return rows
