"""A training job: every setting, the defaults that depend on the images, and the data that a run may use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from understudy.augment import DOMAINS, Augmentation
from understudy.core.arguments import check, is_whole, quoted
from understudy.core.budget import Budget
from understudy.core.config import Knob, from_table, knobs, merge, normalize, override
from understudy.core.errors import ConfigError
from understudy.core.seeding import seed_torch
from understudy.data.collection import Collection, Part
from understudy.data.simulate import ORDERS, check_simulation
from understudy.data.split import Splits
from understudy.data.training_data import TrainingData
from understudy.engine.execution import pick_device
from understudy.engine.optim import Optimizer
from understudy.engine.pace import MAX_WARMUP, MIN_WARMUP_STEPS
from understudy.engine.stage import Settings
from understudy.experiment.presets import with_preset
from understudy.methods.base import METHODS, Method
from understudy.models import build, check_name
from understudy.recipes.base import Recipe
from understudy.recipes.plain import Plain

# On a processor steps are few, and more small ones teach more than fewer large ones: digits with 40 labels reached 96 %
# in 20 CPU seconds with 32 + 96 rows a step, and 92 % with 64 + 448.
_FEW_LABELS, _SMALL_BATCH, _MU_ON_PROCESSOR = 1000, 32, 3  # mu at most
# Long enough to plan in and to train a small network twice on a processor, short enough to wait for.
DEFAULT_BUDGET = Budget(wall_s=600)
_SIMULATION = ("imbalance", "num_unlabeled", "unlabeled_imbalance", "unlabeled_order")


@dataclass(frozen=True, kw_only=True)
class Job(Settings):
    """All settings of a training run except its images; one TOML file."""

    budget: Annotated[
        Budget,
        Knob(
            "time of the whole command (90s, 10m, 2h), CPU time of planning and training (1200cpu-s), or length of "
            "each training run (5000steps, 10epochs)"
        ),
    ] = DEFAULT_BUDGET
    recipe: Recipe = field(default_factory=Plain)
    network: Annotated[str, Knob("network: a name, timm:NAME or torchvision:NAME; auto selects by the images")] = "auto"
    pretrained: Annotated[bool, Knob("use the pretrained weights of timm or torchvision")] = False
    weights_file: Annotated[str, Knob("file with initial weights")] = ""
    domain: Annotated[str, Knob("image domain, which selects the augmentations", choices=("auto", *DOMAINS))] = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)
    size: Annotated[int, Knob("training resolution in px; 0 selects by the images", 0)] = 0
    channels: Annotated[int, Knob("1 (grayscale) or 3 (color); 0 selects by the images", 0, 3)] = 0
    num_labels: Annotated[
        int, Knob("number of labels to keep, to measure what fewer labels achieve; 0 keeps all", 0)
    ] = 0
    imbalance: Annotated[
        float,
        Knob("with num_labels: imbalance ratio of the labels (largest class / smallest); 0 keeps that of the data", 0),
    ] = 0.0
    num_unlabeled: Annotated[
        int, Knob("with num_labels: number of unlabeled images to keep; 0 keeps as many as possible", 0)
    ] = 0
    unlabeled_imbalance: Annotated[
        float, Knob("with num_labels: imbalance ratio of the unlabeled images; 0 keeps that of the data", 0)
    ] = 0.0
    unlabeled_order: Annotated[
        str, Knob("order of the classes by size among the unlabeled images, relative to the labels", choices=ORDERS)
    ] = "same"
    filter_pool: Annotated[bool, Knob("drop unlabeled images that are unrelated to the labeled ones")] = False
    corrupted: Annotated[
        int, Knob("number of test images on which both models are also evaluated under common corruptions", 0)
    ] = 0
    test_time_averaging: Annotated[bool, Knob("average predictions over shifted and mirrored copies of each image")] = (
        False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_simulation(self.num_labels, **self.simulation())

    def simulation(self) -> dict[str, Any]:
        """The options of `simulate` beside the number of labels."""
        return {name: getattr(self, name) for name in _SIMULATION}

    def settings(self) -> Settings:
        """The part that a training stage takes."""
        return Settings(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)})


class Options(dict[str, Any]):
    """A table of options in its canonical form, as `resolve` returns it; it needs no further normalization."""


def resolve(
    options: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    default_method: str = "",
) -> Options:
    """One table of options from the preset, the file, the options given by name and `--set`; later ones win.

    The settings of a method stay where the same method is named again and go where another one is.

    Args:
        options: May name a `preset`, and so may the file.
        assignments: Such as `method.threshold=0.9`.
        default_method: The method that is meant where settings of one are given without its name; none if empty.

    Raises:
        ConfigError: A name, a budget or an assignment is wrong, or both a budget and epochs are given.
    """
    options = dict(options)
    preset = {"preset": options.pop("preset")} if "preset" in options else {}
    below = _normalized(with_preset({**(config or {}), **preset}))
    table = merge(_of_method(below, default_method), _normalized(options))
    for assignment in assignments:  # normalized in between, since the next may be a setting of the class just named
        table = normalize(Job, override(table, [assignment]))
    return normalize_options(_of_method(table, default_method))


def _of_method(table: dict[str, Any], name: str) -> dict[str, Any]:
    """The table with this name in a table of a method's settings that has none."""
    method = table.get("method")
    return table | {"method": {"name": name, **method}} if name and isinstance(method, Mapping) else table


def normalize_options(table: Mapping[str, Any]) -> Options:
    """A copy of a table of options in its one canonical form: see `normalize`; `epochs=10` is a budget.

    Args:
        table: An optimizer may be a class of torch's.

    Raises:
        ConfigError: A name is unknown, a value is of another kind, or both a budget and epochs are given.
    """
    if isinstance(table, Options):
        return Options(table)
    table = dict(table)
    epochs = table.pop("epochs", None)
    if epochs is not None:
        if "budget" in table:
            raise ConfigError(f"budget is {quoted(table['budget'])} and epochs is {quoted(epochs)}; give one of them")
        if isinstance(epochs, bool) or not isinstance(epochs, Real):
            raise ConfigError(f"epochs is {quoted(epochs)}; give a number of passes over the training images, above 0")
        table["budget"] = Budget.parse(f"{float(epochs):f}epochs")
    table = _normalized(table)
    check(**{name: table[name] for name in ("seed", "size", "channels") if name in table})
    network = table.get("network", "auto")
    if isinstance(network, str) and network != "auto" and not network.startswith("module:"):
        check_name(network)
    return Options(table)


def _normalized(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table in canonical form, where an optimizer may also be given as a class of torch's."""
    optimizer = table.get("optimizer")
    if isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(
            f"optimizer is a {type(optimizer).__name__} that already holds parameters; give its class or name, and "
            "its settings as {'name': 'sgd', 'lr': 0.1}"
        )
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        table = {**table, "optimizer": optimizer.__name__}
    return normalize(Job, table)


def make_job(table: Mapping[str, Any], collection: Collection, module: nn.Module | None, named: str = "") -> Job:
    """The job of a table of options; settings left open are set for these images.

    Raises:
        ConfigError: An option is unknown, has the wrong type, or is outside its range.
    """
    table = normalize_options(table)
    on_processor = pick_device(str(table.get("device", "auto"))).type == "cpu"
    table["method"] = _sized_for(table.get("method", {}), on_processor)
    if "batch_size" not in table and on_processor:
        held_out = np.isin(collection.parts, (Part.VALIDATION, Part.TEST, Part.LEFT_OUT))
        known, asked = int(((collection.labels >= 0) & ~held_out).sum()), table.get("num_labels")
        few = (asked if isinstance(asked, int) and asked else known) < _FEW_LABELS
        table["batch_size"] = _SMALL_BATCH if few else Job().batch_size
    batch_size = table.get("batch_size", Job().batch_size)
    if is_whole(batch_size, 1):
        training = int((~np.isin(collection.parts, (Part.VALIDATION, Part.TEST, Part.LEFT_OUT))).sum())
        table["budget"] = table.get("budget", Job().budget).with_epochs_as_steps(training, batch_size)
    steps = table.get("budget", Job().budget).steps
    if steps and "warmup" not in table:
        table["warmup"] = min(MAX_WARMUP, max(Job().warmup, MIN_WARMUP_STEPS / steps))
    if table.get("network", "auto") == "auto":
        table["network"] = "resnet_small" if collection.is_images else "mlp"
    if table.get("domain", "auto") == "auto":
        table["domain"] = _domain_of(collection, named)
    if (table["domain"] == "vector") == collection.is_images:
        rows = "images" if collection.is_images else "vectors"
        fitting = [name for name, domain in DOMAINS.items() if domain.vector != collection.is_images]
        raise ConfigError(f"domain {table['domain']!r} does not go with {rows}; allowed: {', '.join(fitting)}")
    if not isinstance(table.get("optimizer"), Optimizer):
        network = "module" if module is not None else str(table["network"])
        table["optimizer"] = {"name": _optimizer_of(network)} | dict(table.get("optimizer", {}))
    job = from_table(Job, table)
    if job.method.pretext:
        raise ConfigError(
            f"{job.method.name} learns features and no classes; let another method start from them: "
            f"--recipe pretrain --set recipe.pretext.name={job.method.name}"
        )
    return job


def as_training_data(
    collection: Collection, splits: Splits, domain: str, augmentation: Augmentation | None = None
) -> TrainingData:
    """The part of a collection that a training run may use: no labels of held-out or unlabeled images."""
    rows = collection.rows
    scale = None
    if not collection.is_images:
        training = torch.from_numpy(np.concatenate([splits.labeled, splits.unlabeled]))
        scale = rows[training].float().std(0).clamp(min=1e-6)
    return TrainingData(
        rows=rows,
        labeled=splits.labeled,
        targets=torch.from_numpy(collection.labels[splits.labeled]),
        unlabeled=splits.unlabeled,
        classes=collection.classes,
        domain=(augmentation or Augmentation()).of(DOMAINS[domain]),
        size=collection.size or 0,
        validation=splits.validation,
        validation_targets=collection.labels[splits.validation],
        weight=torch.from_numpy(collection.weights[splits.labeled]),
        scale=scale,
        content=collection.content,
    )


def _sized_for(method: Any, on_processor: bool, default: str = "") -> Any:
    """The method with fewer unlabeled rows a step than its paper's, on a processor and unless `mu` is given.

    Args:
        default: Name of the method that settings without a name are of; that of a job if not given.
    """
    if not isinstance(method, Mapping):
        return method
    method = {"name": default or Job().method.name} | dict(method)
    cls = METHODS.get(str(method["name"]))
    if on_processor and "mu" in knobs(cls):
        return {"mu": min(_MU_ON_PROCESSOR, cls().mu)} | method
    for part in dataclasses.fields(cls):  # a method around another takes as many rows as that one
        if part.default_factory is not dataclasses.MISSING and isinstance(inner := part.default_factory(), Method):
            method[part.name] = _sized_for(method.get(part.name, {}), on_processor, inner.name)
    return method


def initial_network(job: Job, data: TrainingData) -> nn.Module:
    """The network of the job, with initial weights that depend on its seed alone."""
    seed_torch("initial weights", job.seed)
    return build(
        job.network,
        shape=data.row_shape,
        num_classes=len(data.classes),
        pretrained=job.pretrained,
        weights_file=job.weights_file or None,
    )


def _domain_of(collection: Collection, named: str) -> str:
    if not collection.is_images:
        return "vector"
    if named == "digits" or (named.lower().startswith("torchvision:") and named.lower().endswith(("mnist", "svhn"))):
        return "digits"
    return "gray" if collection.shape[0] == 1 else "natural"


def _optimizer_of(network: str) -> str:
    """Muon for networks of dense convolutions, SGD for separable ones, AdamW for vectors and unknown networks."""
    return {"mlp": "adamw", "mobilenet_v1": "sgd", "module": "adamw"}.get(
        network, "adamw" if ":" in network else "muon"
    )
