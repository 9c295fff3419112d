"""What of a domain's views one job does otherwise, as settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from understudy.augment.domains import Domain
from understudy.augment.policy import OPERATIONS
from understudy.core.config import Config, Knob
from understudy.core.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class Augmentation(Config):
    """Changes of a domain's weak and strong views; what is None stays as the domain has it."""

    hflip: Annotated[bool | None, Knob("whether to use horizontal flips")] = None
    rotations: Annotated[bool | None, Knob("whether to use rotations by 90 degrees and vertical flips")] = None
    magnitude: Annotated[float | None, Knob("magnitude of the strong view, relative to the FixMatch paper", 0, 1)] = (
        None
    )
    cutout: Annotated[float | None, Knob("maximum side of the cutout square, relative to the image's side", 0, 1)] = (
        None
    )
    operations: Annotated[tuple[str, ...] | None, Knob("operations from which the strong view draws two")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.operations is not None and not self.operations:
            raise ConfigError("augmentation.operations is empty; name at least one, such as identity")
        for name in self.operations or ():
            if name not in OPERATIONS:
                raise ConfigError(f"augmentation.operations has {name!r}; {nearest(name, OPERATIONS)}")

    def of(self, domain: Domain) -> Domain:
        """The domain with these changes."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(domain, **{name: value for name, value in given.items() if value is not None})
