"""Transfer: a frozen backbone's features, computed once, and a head that is found on them in little time."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.augment import DOMAINS
from understudy.core.budget import Budget, Cost
from understudy.core.config import Knob, to_table
from understudy.core.errors import ConfigError, UserError
from understudy.core.files import read_json, write_json
from understudy.core.seeding import generator, seed_torch
from understudy.core.types import PseudoLabels, Step
from understudy.data.training import TrainingData
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import Observer, Round, StepReport
from understudy.engine.optim import AdamW
from understudy.engine.predict import predict
from understudy.engine.rundir import RunFolder, load_tensors, save_weights
from understudy.engine.stage import Stage
from understudy.engine.state import input_sample
from understudy.models import build, fit_input
from understudy.models.heads import MLP_HEAD, find_head, with_head
from understudy.models.nets import Execution
from understudy.recipes.base import RECIPES, Purse, Recipe
from understudy.recipes.parts.features import Features, feature_folder, frozen_features
from understudy.recipes.parts.initial_weights import is_fresh
from understudy.recipes.parts.linear_heads import LinearHead, logistic_head, prototype_head
from understudy.recipes.parts.pool_labels import PoolLabels
from understudy.recipes.parts.propagation import propagated_head

HEADS = ("linear", "label_propagation", "prototypes", "method")
_SCALE_SAMPLE = 20_000
_SHARE_FOR_FEATURES = 0.8
_LEAST_SHARE = 0.05


@RECIPES.register("transfer")
@dataclass(frozen=True, kw_only=True)
class Transfer(Recipe):
    """The network given stays as it is but for its head, which is found on the features that enter it.

    Features of plain views are computed once and kept beside the decoded images, where runs with other heads, seeds
    or labels find them; each run pays what they cost when they were computed. The head is

    * `linear`: logistic regression on the labeled rows alone, its strength by cross-validation among them;
    * `label_propagation`: labels diffuse over the graph of nearest neighbors of all training rows (Iscen et al., 2019,
      https://arxiv.org/abs/1904.04717), and a linear head learns what each row was given, by the paper's weights;
    * `prototypes`: the nearest class mean by cosine, which confident unlabeled rows join;
    * `method`: the stage's method trains a small multi-layer perceptron on the features, with noise on the features in
      place of augmentation.

    What is delivered is one network from images to logits. With `finetune`, that share of the budget then trains all of
    it by the stage's method, earlier blocks at lower rates; of both the better on validation images is delivered,
    the fine-tuned one where there are none. Time that a head does not need is not spent.

    Differs from the paper: the graph is built once, on features that no training moves.
    """

    summary: ClassVar[str] = "A head on a frozen backbone's features, which are computed once."
    use_when: ClassVar[str] = "with a pretrained backbone, few labels, or little time"

    head: Annotated[str, Knob("what is put on the features", choices=HEADS)] = "linear"
    num_neighbors: Annotated[int, Knob("label_propagation: neighbors of each row in the graph", 1)] = 50
    alpha: Annotated[float, Knob("label_propagation: how far labels go, from 0 to below 1", 0, 0.9999)] = 0.99
    num_refinements: Annotated[int, Knob("prototypes: times that confident unlabeled rows join the means", 0)] = 1
    threshold: Annotated[float, Knob("prototypes: confidence from which on a row joins", 0, 1)] = 0.8
    noise: Annotated[
        float, Knob("method: noise of a strong view in standard deviations of each feature; weak has a quarter", 0)
    ] = 0.4
    finetune: Annotated[float, Knob("share of the budget in which all layers are then trained; 0 is none", 0, 0.95)] = (
        0.0
    )
    layer_decay: Annotated[
        float, Knob("finetune: rate of a block as a share of the next one's, times what the optimizer says", 0, 1)
    ] = 0.75

    def outline(self, method: str) -> str:
        """The head, and who trains all layers after it."""
        head = f"{method} on frozen features" if self.head == "method" else f"{self.head} on frozen features"
        after = f", then {100 * self.finetune:.0f} % of it {method} on all layers" if self.finetune else ""
        return f"{self.name} ({head}{after})"

    def check(self, stage: Stage) -> None:
        """Nothing, when the head asked for can be found and put in place.

        Raises:
            ConfigError: The head learns from unlabeled rows and there are none, a single class is labeled, or the head
                would not fit into a module of the user's own.
            UserError: The network has no head.
        """
        name, head = find_head(stage.network)
        if head.out_features != (num_classes := len(stage.data.classes)):
            raise UserError(
                f"the last linear layer of {type(stage.network).__name__}, {name!r}, gives {head.out_features} numbers "
                f"and there are {num_classes} classes, so it is not the head; define the head after all other layers"
            )
        if self.head == "label_propagation" and not len(stage.data.unlabeled):
            raise ConfigError(
                "recipe.head=label_propagation labels unlabeled images and there are none; "
                "give some, or take recipe.head=linear"
            )
        if len(np.unique(_classes(stage.data))) < 2:
            raise ConfigError("a head needs labeled images of at least 2 classes, and 1 is labeled; label another one")
        if self.head == "method" and stage.network_name.startswith("module:"):
            raise ConfigError(
                "recipe.head=method puts a new head on the network, and your own module could not be trained in place; "
                "give the network by name, or take another head"
            )

    def train(
        self,
        stage: Stage,
        folder: Path | None = None,
        *,
        observe: Sequence[Observer] = (),
        execution: Execution | None = None,
    ) -> Trained:
        """The network with its new head, fine-tuned where that is asked for.

        Raises:
            UserError: As `check`; or the budget is too short for the features.
        """
        self.check(stage)
        if folder is None:
            return _Run(self, stage, None, observe, execution).train()
        run_folder = RunFolder(folder)
        with run_folder.claim():
            run_folder.recognize({"recipe": repr(sorted(to_table(self).items())), **stage.identity()})
            return _Run(self, stage, folder, observe, execution).train()


@dataclass(frozen=True, eq=False)
class _Part:
    """A finished part: the classifier, its line, and what it gave to the pool."""

    trained: Trained
    line: dict[str, Any]
    labels: PoolLabels | None = None


class _Run:
    """One call of the recipe."""

    def __init__(
        self,
        recipe: Transfer,
        stage: Stage,
        folder: Path | None,
        observe: Sequence[Observer],
        execution: Execution | None,
    ) -> None:
        self.recipe, self.stage, self.folder, self.observe = recipe, stage, folder, observe
        self.execution = execution and dataclasses.replace(execution, chunks=1)
        self.device = pick_device(stage.settings.device)
        self.purse = Purse(stage.budget, folder)

    def train(self) -> Trained:
        """Features and head, or what an earlier process saved of them; then fine-tuning."""
        parts = [self.saved_head() or self.new_head()]
        self.tell(parts[0])
        if self.recipe.finetune:
            parts.append(self.tuned(parts[0].trained))
            self.tell(parts[1])
        best = max(reversed(parts), key=lambda part: part.line["validation_accuracy"] or 0.0)
        lines = [part.line | {"returned": part is best} for part in parts]
        if self.folder is not None:
            write_json(self.folder / "rounds.json", lines)
        return dataclasses.replace(
            best.trained, steps=self.purse.spent_steps, cost=self.purse.cost, rounds=tuple(lines)
        )  # fmt: skip

    # The head.

    def new_head(self) -> _Part:
        """The network with the head asked for, saved for a later process."""
        stage, recipe = self.stage, self.recipe
        network = copy.deepcopy(stage.network)
        fit_input(network, input_sample(stage))
        network.to(self.device).eval()
        ids = self.asked()
        features = self.features(network, ids)
        labels, name, steps = None, stage.network_name, 0
        if recipe.head == "method":
            trained = self.method_head(features)
            network, steps = with_head(network, trained.model), trained.steps
            name, note = f"{name}{MLP_HEAD}", f"{stage.settings.method.name} trained a perceptron of two layers"
            self.execution = self.execution or dataclasses.replace(trained.execution, chunks=1)
        else:
            head, labels = self.linear_head(network, features)
            head.put_into(find_head(network)[1])
            note = head.note
        trained = Trained(
            model=network.to(self.device).eval(), steps=steps, best_step=steps, cost=Cost(),
            execution=self.execution or Execution(threads=torch.get_num_threads()), history=(), network_name=name,
        )  # fmt: skip
        again = f", {features.num_computed:,} of them computed now" if features.num_computed < len(ids) else ""
        note = f"features of {len(ids):,} rows{again}; {note}"
        if is_fresh(stage):
            note += "; the backbone has learned nothing yet: pretrained or weights_file gives it a better start"
        part = _Part(trained, self.line(0, recipe.head, trained, note), labels)
        self.save_head(part)
        return part

    def asked(self) -> NDArray[np.int64]:
        """The rows whose features the head is found on."""
        data, recipe = self.stage.data, self.recipe
        if recipe.head == "linear" or (recipe.head == "prototypes" and not recipe.num_refinements):
            return np.unique(data.labeled)
        return np.unique(np.concatenate([data.pool, *([data.validation] if recipe.head == "method" else [])]))

    def features(self, network: nn.Module, ids: NDArray[np.int64]) -> Features:
        """What the head is found on, paid for."""
        share = (1 - self.recipe.finetune) * (_SHARE_FOR_FEATURES if self.recipe.head == "method" else 1.0)
        budget = self.stage.budget
        limit = None
        if budget.is_timed:
            wall_s, cpu_s = (None if total is None else share * total for total in (budget.wall_s, budget.cpu_s))
            limit = Budget(wall_s, cpu_s)
        found = frozen_features(
            network, self.stage.data, ids,
            folder=None if self.folder is None else feature_folder(),
            device=self.device, execution=self.execution, budget=limit,
        )  # fmt: skip
        self.purse.spent += found.cost_before
        return found

    def linear_head(self, network: nn.Module, features: Features) -> tuple[LinearHead, PoolLabels | None]:
        """The linear head asked for, and what it was taught of the pool."""
        data, recipe, seed = self.stage.data, self.recipe, self.stage.settings.seed
        num_classes, labels = len(data.classes), _classes(data)
        has_bias = find_head(network)[1].bias is not None
        if recipe.head == "label_propagation":
            asked = np.concatenate([labels, np.full(len(data.unlabeled), -1)])
            head, found = propagated_head(
                features.rows, data.pool, asked, num_classes, num_neighbors=recipe.num_neighbors, alpha=recipe.alpha,
                seed=seed, device=self.device, has_bias=has_bias,
            )  # fmt: skip
            label, certainty = found.label[len(labels) :], found.certainty[len(labels) :].astype(np.float32)
            return head, PoolLabels(data.unlabeled, label, certainty, (certainty > 0).astype(np.int64))
        rows = features.rows[torch.from_numpy(data.labeled)].numpy()
        weight = None if data.weight is None else data.weight.numpy(force=True).astype(np.float64)
        if recipe.head == "linear":
            return logistic_head(rows, labels, num_classes, weight=weight, seed=seed, has_bias=has_bias), None
        pool = features.rows[torch.from_numpy(data.unlabeled)].numpy() if recipe.num_refinements else None
        return prototype_head(
            rows, labels, num_classes, weight=weight, pool=pool,
            num_refinements=recipe.num_refinements, threshold=recipe.threshold, has_bias=has_bias,
        ), None  # fmt: skip

    def method_head(self, features: Features) -> Trained:
        """The perceptron that the stage's method trains on the features."""
        stage, noise = self.stage, self.recipe.noise
        data, ids = stage.data, stage.data.pool
        if len(ids) > _SCALE_SAMPLE:
            ids = np.sort(generator("feature scale", stage.settings.seed).choice(ids, _SCALE_SAMPLE, replace=False))
        scale = features.rows[torch.from_numpy(ids)].std(0, correction=0).clamp(min=1e-6)
        on_features = dataclasses.replace(
            data,
            rows=features.rows,
            size=0,
            domain=dataclasses.replace(DOMAINS["vector"], strong_noise=noise, weak_noise=noise / 4),
            scale=scale,
            content=f"{data.content} features {features.key}",
        )
        seed_torch("head", stage.settings.seed)
        network = build("mlp", shape=(features.rows.shape[1],), num_classes=len(data.classes))
        # The stage's optimizer and frozen layers are about its network.
        settings = dataclasses.replace(stage.settings, optimizer=AdamW(), freeze="")
        execution = self.execution and dataclasses.replace(self.execution, channels_last=False, compiled=False)
        budget = self.purse.grant("head", self.share_left_of(1 - self.recipe.finetune))
        part = Stage(
            name="head", settings=settings, data=on_features, network=network, network_name="mlp", budget=budget
        )  # fmt: skip
        return self.purse.pay(fit(part, self.subfolder("head"), observe=self.observe, execution=execution))

    # All layers.

    def tuned(self, head: Trained) -> _Part:
        """All layers trained by the stage's method, the first ones least."""
        stage = self.stage
        optimizer = stage.settings.optimizer
        optimizer = dataclasses.replace(optimizer, layer_decay=self.recipe.layer_decay * optimizer.layer_decay)
        spent = self.purse.cost.share_of(stage.budget, self.purse.spent_steps)
        part = dataclasses.replace(
            stage,
            name="finetune",
            settings=dataclasses.replace(stage.settings, optimizer=optimizer),
            network=copy.deepcopy(head.model).cpu(),
            network_name=head.network_name,
            budget=self.purse.grant("finetune", self.share_left_of(min(1.0, spent + self.recipe.finetune))),
        )
        trained = self.purse.pay(
            fit(part, self.subfolder("finetune"), observe=self.observe, execution=self.execution)
        )  # fmt: skip
        trained = dataclasses.replace(trained, network_name=head.network_name)
        return _Part(trained, self.line(1, "finetune", trained, f"{stage.settings.method.name} on all layers"))

    # What is kept and told.

    def share_left_of(self, until: float) -> float:
        """What of the budget that is left may go until that share of the whole is spent."""
        spent = self.purse.cost.share_of(self.stage.budget, self.purse.spent_steps)
        return min(1.0, max(_LEAST_SHARE, (until - spent) / max(_LEAST_SHARE, 1 - spent)))

    def subfolder(self, name: str) -> Path | None:
        """Where a part keeps its files."""
        return None if self.folder is None else self.folder / name

    def line(self, number: int, name: str, trained: Trained, note: str) -> dict[str, Any]:
        """The figures of a finished part."""
        data, accuracy = self.stage.data, None
        if len(data.validation):
            found = predict(trained.model, data, data.validation, device=self.device, execution=self.execution)
            accuracy = float((found.argmax(-1) == data.validation_targets).mean())
        cost = trained.cost if trained.history else self.purse.cost
        return {
            "round": number,
            "name": name,
            "validation_accuracy": accuracy,
            "learned_from_pool": self.learns_from_pool(name),
            "steps": trained.steps,
            "cpu_s": cost.cpu_s,
            "wall_s": cost.wall_s,
            "note": note,
        }

    def learns_from_pool(self, name: str) -> bool:
        """Whether unlabeled rows play a part in the head, or in fine-tuning after it."""
        recipe, method = self.recipe, self.stage.settings.method
        if recipe.head == "label_propagation" or (recipe.head == "prototypes" and recipe.num_refinements):
            return True
        return (recipe.head == "method" or name == "finetune") and method.unlabeled_batch_size(1) > 0

    def save_head(self, part: _Part) -> None:
        """Write what a later process goes on from."""
        if self.folder is not None:
            if part.labels is not None:
                part.labels.save(self.folder / "pseudo_labels.npz")
            save_weights(self.folder / "head.safetensors", dict(part.trained.model.state_dict()))
            about = {"network_name": part.trained.network_name, "line": part.line}
            write_json(self.folder / "head.json", about | {"execution": dataclasses.asdict(part.trained.execution)})

    def saved_head(self) -> _Part | None:
        """What `save_head` wrote, paid for as it was then."""
        if self.folder is None or not (self.folder / "head.json").exists():
            return None
        weights = load_tensors(self.folder / "head.safetensors")
        if weights is None:
            return None
        about, network = read_json(self.folder / "head.json"), copy.deepcopy(self.stage.network)
        line = about["line"]
        if about["network_name"].endswith(MLP_HEAD):
            width = find_head(network)[1].in_features
            network = with_head(network, build("mlp", shape=(width,), num_classes=len(self.stage.data.classes)))
        network.load_state_dict(weights[0])
        self.purse.spent, self.purse.spent_steps = Cost(line["wall_s"], line["cpu_s"]), line["steps"]
        trained = Trained(
            model=network.to(self.device).eval(), steps=line["steps"], best_step=line["steps"], cost=Cost(),
            execution=Execution(**about["execution"]), history=(), network_name=about["network_name"],
        )  # fmt: skip
        self.execution = self.execution or trained.execution
        path = self.folder / "pseudo_labels.npz"
        labels = PoolLabels.load(path)
        return None if labels is None and path.exists() else _Part(trained, line, labels)

    def tell(self, part: _Part) -> None:
        """Give the line of a finished part to whoever watches."""
        pseudo_labels = None
        if part.labels is not None:
            position = len(self.stage.data.labeled) + torch.arange(len(part.labels.ids))
            weight = torch.from_numpy(part.labels.weight).float()
            pseudo_labels = PseudoLabels(position, torch.from_numpy(part.labels.label), weight)
        report = StepReport(
            part.line["name"], Step(max(0, part.line["steps"] - 1), 1.0), (), 1.0, 2, self.purse.cost,
            self.stage.budget, None, round=Round(part.line["round"], part.line, pseudo_labels),
        )  # fmt: skip
        for observer in self.observe:
            observer(report)


def _classes(data: TrainingData) -> NDArray[np.int64]:
    targets = data.targets if data.targets.ndim == 1 else data.targets.argmax(-1)
    return targets.numpy(force=True).astype(np.int64)
