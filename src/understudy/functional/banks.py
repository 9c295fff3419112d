"""What was seen before, kept as rows of buffers: every labeled image's embedding, or those of the last images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from understudy.core import distributed


class LabeledBank(nn.Module):
    """One unit embedding and one class per labeled training row; `known` are the rows met so far."""

    embeddings: Float[Tensor, "m d"]
    labels: Int[Tensor, "m"]
    known: Bool[Tensor, "m"]

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, width))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.long))
        self.register_buffer("known", torch.zeros(size, dtype=torch.bool))

    @torch.no_grad()
    def update(
        self, ids: Int[Tensor, "b"], embeddings: Float[Tensor, "b d"], labels: Int[Tensor, "b"], momentum: float
    ) -> None:
        """Move the rows of all processes' batches towards their embeddings (SimMatch, equation 12).

        A row met for the first time takes its embedding's direction as it is, and one that is in the batch more than
        once moves towards the mean of its embeddings' directions.
        """
        ids, embeddings, labels = (distributed.gather(part) for part in (ids, embeddings, labels))
        same = ids[:, None] == ids[None]
        means = same.to(embeddings.dtype) @ F.normalize(embeddings, dim=-1) / same.sum(-1, keepdim=True)
        moved = F.normalize(momentum * self.embeddings[ids] + (1 - momentum) * means, dim=-1)
        # Repeated rows all write what the first of them has, so that it does not matter which writes last.
        first = same.to(torch.uint8).argmax(-1)
        # New tensors, because the graph of this step's loss may still hold those of before.
        self.embeddings = self.embeddings.index_copy(0, ids, moved[first])
        self.labels = self.labels.index_copy(0, ids, labels[first])
        self.known = self.known.index_fill(0, ids, True)


class Queue(nn.Module):
    """The directions of the last embeddings and their class probabilities, the oldest overwritten first."""

    embeddings: Float[Tensor, "m d"]
    probs: Float[Tensor, "m k"]
    written: Int[Tensor, ""]

    def __init__(self, size: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, width))
        self.register_buffer("probs", torch.zeros(size, num_classes))
        self.register_buffer("written", torch.tensor(0))

    @property
    def known(self) -> Bool[Tensor, "m"]:
        """The places that were written to."""
        return torch.arange(len(self.probs), device=self.written.device) < self.written

    @torch.no_grad()
    def push(self, embeddings: Float[Tensor, "n d"], probs: Float[Tensor, "n k"]) -> None:
        """Take in the rows of all processes; of more rows than there are places, the last ones."""
        size = len(self.probs)
        embeddings, probs = (distributed.gather(part)[-size:] for part in (F.normalize(embeddings, dim=-1), probs))
        places = (self.written + torch.arange(len(probs), device=self.written.device)) % size
        self.embeddings.index_copy_(0, places, embeddings)
        self.probs.index_copy_(0, places, probs)
        self.written.add_(len(probs))
