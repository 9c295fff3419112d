"""A training process that tests interrupt and kill."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.contract.tiny import run, stage, tiny
from understudy.engine.stage import Stage
from understudy.methods.softmatch import SoftMatch


def training() -> Stage:
    """A hundred steps in two phases, with memory and with weights chosen by validation."""
    return stage(SoftMatch(mu=2), steps=100, data=tiny(validation=9).data)


if __name__ == "__main__":
    run(training(), Path(sys.argv[1]), observe=[lambda _: time.sleep(0.01)])
