"""Batched augmentation on the device: weak and strong views per domain."""

from understudy.augment.adjust import Augmentation
from understudy.augment.domains import DOMAINS, Domain
from understudy.augment.policy import View, num_draws, render

__all__ = ["DOMAINS", "Augmentation", "Domain", "View", "num_draws", "render"]
