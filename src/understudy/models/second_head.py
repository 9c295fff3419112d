"""Networks seen through another head: a loss gets that head's logits, and the classifier's own are kept beside them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.models.nets import Networks


class SecondHead:
    """The networks of one loss, whose classifier has a linear layer of its own in the place of its last one.

    Every forward of the classifier gives both heads' logits; asking for the classifier's own logits of a view that
    was already run costs nothing. All else, other networks included, is that of the networks themselves.

    Args:
        head: Name of the network that takes the classifier's features to the logits a loss is to see.
    """

    def __init__(self, nets: Networks, head: str) -> None:
        self._nets, self._head = nets, nets.get_submodule(head)
        self._trained: list[tuple[Tensor, Tensor]] = []
        self._predicted: list[tuple[Tensor, str, Tensor, Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nets, name)

    def logits(self, *views: Float[Tensor, "_ ..."]) -> tuple[Float[Tensor, "_ k"], ...]:
        """The other head's logits for each view, from one training forward over all views together."""
        return tuple(logits for logits, _ in self.logits_and_features(*views))

    def logits_and_features(
        self, *views: Float[Tensor, "_ ..."]
    ) -> tuple[tuple[Float[Tensor, "_ k"], Float[Tensor, "_ d"]], ...]:
        """As `logits`, each with the features that both heads are given."""
        both = self._nets.logits_and_features(*views)
        self._trained += [(view, own) for view, (own, _) in zip(views, both, strict=True)]
        return tuple((self._head(features), features) for _, features in both)

    def through(self, name: str, *views: Float[Tensor, "_ ..."]) -> tuple[Tensor, ...]:
        """The named network's output for each view, from one training forward over all views together."""
        return self.logits(*views) if name == "model" else self._nets.through(name, *views)

    def own_logits(self, *views: Float[Tensor, "_ ..."]) -> tuple[Float[Tensor, "_ k"], ...]:
        """The classifier's own logits for each view; those that no forward has had yet share one."""
        if missing := [view for view in views if self._seen(view) is None]:
            self.logits_and_features(*missing)
        found = [self._seen(view) for view in views]
        return tuple(own for own in found if own is not None)

    @torch.no_grad()
    def predict(self, x: Float[Tensor, "n ..."], *, by: str = "ema") -> Float[Tensor, "n k"]:
        """The other head's logits on the classifier's features: evaluation mode, no gradient."""
        if by not in ("ema", "model"):
            return self._nets.predict(x, by=by)
        return self.predict_with_features(x, by=by)[0]

    @torch.no_grad()
    def predict_with_features(
        self, x: Float[Tensor, "n ..."], *, by: str = "ema"
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n d"]]:
        """As `predict`, with the features that both heads are given."""
        if by not in ("ema", "model"):
            return self._nets.predict_with_features(x, by=by)
        _, features = self._evaluated(x, by)
        return self._head(features), features

    def own_predict(self, x: Float[Tensor, "n ..."], *, by: str = "ema") -> Float[Tensor, "n k"]:
        """The classifier's own logits: evaluation mode, no gradient."""
        return self._evaluated(x, by)[0]

    def _seen(self, view: Tensor) -> Tensor | None:
        return next((own for seen, own in self._trained if seen is view), None)

    def _evaluated(self, x: Tensor, by: str) -> tuple[Tensor, Tensor]:
        for seen, network, own, features in self._predicted:
            if seen is x and network == by:
                return own, features
        own, features = self._nets.predict_with_features(x, by=by)
        self._predicted.append((x, by, own, features))
        return own, features
