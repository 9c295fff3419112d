"""One training run: settings, data, network; and the identity by which a run folder recognizes it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from understudy.core.budget import Budget
from understudy.core.config import Config, Knob, to_table
from understudy.core.errors import ConfigError
from understudy.data.training_data import TrainingData
from understudy.engine.optim import Muon, Optimizer
from understudy.functional.mixing import MIXES
from understudy.methods.base import Method
from understudy.methods.softmatch import SoftMatch
from understudy.models.heads import check_features


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    """How to train: all options of a run but its data, its network and its length."""

    method: Method[Any] = field(default_factory=SoftMatch)
    optimizer: Optimizer = field(default_factory=Muon)
    seed: Annotated[int, Knob("random seed", 0, probe=1)] = 0
    batch_size: Annotated[int, Knob("labeled rows per step", 1, probe=8)] = 64
    labeled_view: Annotated[
        str,
        Knob(
            "augmentation of labeled rows; mixed: half of them weak, half strong", choices=("weak", "strong", "mixed")
        ),
    ] = "mixed"
    mix: Annotated[
        str,
        Knob("mix labeled rows and their labels within the batch", choices=("none", *MIXES)),
    ] = "none"
    mix_alpha: Annotated[
        float,
        Knob("with mix: parameter of the Beta distribution; larger mixes more evenly", 0.001, probe=0.1),
    ] = 1.0
    oversampling: Annotated[
        float,
        Knob("oversampling of rare classes: 0 draws rows uniformly, 1 draws classes uniformly", 0, 1, probe=1.0),
    ] = 0.0
    warmup: Annotated[
        float,
        Knob(
            "share of training in the supervised first phase; in timed runs at least 40 steps if possible",
            0,
            1,
            probe=0.5,
        ),
    ] = 0.1
    lr_warmup: Annotated[float, Knob("share of training with learning-rate warm-up", 0, 1, probe=0.5)] = 0.05
    lr_decay: Annotated[str, Knob("learning-rate schedule after warm-up", choices=("cosine", "linear", "constant"))] = (
        "cosine"
    )
    lr_final: Annotated[float, Knob("final learning rate, relative to the peak", 0, 1, probe=1.0)] = 0.0
    freeze: Annotated[
        str, Knob("layers to freeze, such as body.0,body.1; backbone freezes all but the head", probe="backbone")
    ] = ""
    num_evaluations: Annotated[int, Knob("number of evaluations on the validation images", 1)] = 20
    patience: Annotated[
        int, Knob("early stopping: evaluations without improvement before a phase ends; 0 disables it", 0)
    ] = 0
    device: Annotated[str, Knob("auto, cpu, cuda, cuda:1 or mps")] = "auto"
    dtype: Annotated[
        str,
        Knob(
            "data type of the network's computations; auto selects by measured speed",
            choices=("auto", "float32", "bfloat16"),
        ),
    ] = "auto"
    compile: Annotated[str, Knob("torch.compile of the network", choices=("auto", "on", "off"))] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        criterion = self.method.criterion
        for name in ("class_weights", "logit_adjustment"):
            if self.oversampling and getattr(criterion, name) not in ("none", 0):
                raise ConfigError(
                    f"oversampling is {self.oversampling} and criterion.{name} is {getattr(criterion, name)}: both "
                    "correct for rare classes, and together they correct twice; choose one"
                )


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """One training run.

    Args:
        name: What the run is called in folders and progress bars.
        network: Initial classifier; it is copied, never changed.
        network_name: How it was asked for, or the class of the user's module.
    """

    settings: Settings
    data: TrainingData
    network: nn.Module
    budget: Budget
    name: str = "run"
    network_name: str = ""

    def __post_init__(self) -> None:
        method, data = self.settings.method, self.data
        if self.budget.epochs is not None:
            raise ConfigError(
                f"budget {self.budget.text!r} counts epochs, and a stage takes steps; give for example "
                "Budget(steps=5000), or call budget.with_epochs_as_steps"
            )
        if len(data.labeled) == 0:
            raise ConfigError("training needs at least one labeled image; give some, or check the label column")
        if method.unlabeled_batch_size(1) and len(data.unlabeled) == 0:
            raise ConfigError(
                f"method {method.name} learns from unlabeled images and there are none; "
                "give some, or choose the method supervised"
            )

        if self.settings.mix == "cutmix" and len(data.row_shape) != 3:
            raise ConfigError(
                f"mix is 'cutmix', which pastes parts of images, and these rows of shape {data.row_shape} are not "
                "images; choose mix=mixup"
            )
        if self.settings.mix != "none" and getattr(method, "base", method).remembers_labeled:
            raise ConfigError(
                f"mix is {self.settings.mix!r}, and method {method.name} compares unlabeled rows with single labeled "
                "ones; leave mix out, or choose another method, such as softmatch"
            )
        if method.needs_images and len(data.row_shape) != 3:
            raise ConfigError(
                f"method {method.name} needs images, and these rows of shape {data.row_shape} are none; "
                "choose another method, such as softmatch"
            )
        if method.needs_features:
            check_features(self.network, data.row_shape, method.name)

    def identity(self) -> dict[str, str]:
        """What makes two runs the same: settings and budget as asked, data, split and initial weights."""
        weights = hashlib.blake2b(digest_size=16)
        for name, tensor in self.network.state_dict().items():
            weights.update(name.encode())
            weights.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
        split = hashlib.blake2b(digest_size=16)
        for ids in (self.data.labeled, self.data.unlabeled, self.data.validation):
            split.update(np.int64(len(ids)).tobytes() + ids.astype(np.int64).tobytes())
        for values in (self.data.targets, self.data.weight, torch.from_numpy(self.data.validation_targets)):
            split.update(b"-" if values is None else values.cpu().numpy().tobytes())
        return {
            "settings": repr(sorted(to_table(self.settings).items())),
            "budget": repr(self.budget),
            "data": self.data.content,
            "split": split.hexdigest(),
            "initial weights": f"{self.network_name} {weights.hexdigest()}",
        }
