"""Views of a batch, rendered on the device it lives on and different for every row: plain, weak and strong."""

from understudy.augment.adjust import Augmentation
from understudy.augment.domains import DOMAINS, Domain
from understudy.augment.policy import View, num_draws, render

__all__ = ["DOMAINS", "Augmentation", "Domain", "View", "num_draws", "render"]
