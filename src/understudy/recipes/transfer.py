"""Transfer: a frozen backbone's features, computed once, and a head that is found on them in little time."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.augment import DOMAINS
from understudy.core.budget import Budget, Cost
from understudy.core.config import Knob
from understudy.core.errors import ConfigError, UserError
from understudy.core.files import read_json, write_json
from understudy.core.seeding import generator, seed_torch
from understudy.data.training_data import TrainingData
from understudy.engine.finalize import Trained
from understudy.engine.optim import AdamW
from understudy.engine.predict import predict
from understudy.engine.rundir import load_tensors, save_weights
from understudy.engine.stage import Stage
from understudy.engine.state import input_sample
from understudy.models import build, fit_input
from understudy.models.heads import MLP_HEAD, find_head, with_head
from understudy.models.nets import Execution
from understudy.recipes.base import RECIPES, Recipe, RecipeRun
from understudy.recipes.parts.features import FrozenFeatures, feature_folder, frozen_features
from understudy.recipes.parts.initial_weights import is_fresh
from understudy.recipes.parts.linear_heads import LinearHead, logistic_head, prototype_head
from understudy.recipes.parts.pool_labels import PoolLabels
from understudy.recipes.parts.propagation import propagated_head

HEADS = ("linear", "label_propagation", "prototypes", "method")
# The deviation of a feature over so many rows is known to half a percent.
_MAX_SCALE_ROWS = 20_000
# A head that is trained by a method needs time after the features; the others take seconds.
_FEATURES_SHARE = 0.8
# However much the features took, a part gets this share of what is left, so that it can be trained at all.
_MIN_SHARE = 0.05


@RECIPES.register("transfer")
@dataclass(frozen=True, kw_only=True)
class Transfer(Recipe):
    """The backbone stays as it is, and a head is fitted on its features.

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

    summary: ClassVar[str] = "A head on the features of a frozen backbone, which are computed once."
    use_when: ClassVar[str] = "with a pretrained backbone, few labels, or little time"

    head: Annotated[str, Knob("head to train on the features", choices=HEADS)] = "linear"
    num_neighbors: Annotated[int, Knob("label_propagation: number of neighbors in the graph", 1)] = 50
    alpha: Annotated[float, Knob("label_propagation: weight of the neighbors in each row's label", 0, 0.9999)] = 0.99
    num_refinements: Annotated[
        int, Knob("prototypes: number of times the class means are updated with unlabeled rows", 0)
    ] = 1
    threshold: Annotated[float, Knob("prototypes: minimum confidence of the unlabeled rows used", 0, 1)] = 0.8
    noise: Annotated[
        float,
        Knob("method: noise of the strong view in standard deviations of each feature; a quarter for the weak view", 0),
    ] = 0.4
    finetune: Annotated[
        float, Knob("share of the budget for fine-tuning all layers afterwards; 0 disables it", 0, 0.95)
    ] = 0.0
    layer_decay: Annotated[
        float, Knob("finetune: layer-wise learning-rate decay, times that of the optimizer", 0, 1)
    ] = 0.75

    def outline(self, method: str) -> str:
        """The head, and who trains all layers after it."""
        head = f"{method} on frozen features" if self.head == "method" else f"{self.head} on frozen features"
        after = f", then {100 * self.finetune:.0f} % of it {method} on all layers" if self.finetune else ""
        return f"{self.name} ({head}{after})"

    def check(self, stage: Stage) -> None:
        """Validate that the head asked for can be fitted and put in place.

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

    def train_stages(self, run: RecipeRun) -> Trained:
        """Compute the features and find a head on them, then fine-tune all layers if asked."""
        run.execution = run.execution and dataclasses.replace(run.execution, chunks=1)
        head = self.load_head(run) or self.fit_head(run)
        run.report_round(head.record, head.labels)
        parts = [head]
        if self.finetune:
            parts.append(self.train_all_layers(run, head.trained))
            run.report_round(parts[1].record)
        # Of equals the later, as of parts that no validation image has tested.
        best = max(reversed(parts), key=lambda part: part.record["validation_accuracy"] or 0.0)
        return run.conclude(best.trained, best.record["round"])

    # The head.

    def fit_head(self, run: RecipeRun) -> TrainedPart:
        """Fit the head asked for on the network's features, and save it for a later process."""
        stage = run.stage
        network = copy.deepcopy(stage.network)
        fit_input(network, input_sample(stage))
        network.to(run.device).eval()
        rows = self.feature_rows(stage.data)
        features = self.compute_features(run, network, rows)
        labels, name, steps = None, stage.network_name, 0
        if self.head == "method":
            trained = self.train_method_head(run, features)
            network, steps = with_head(network, trained.model), trained.steps
            name, note = f"{name}{MLP_HEAD}", f"{stage.settings.method.name} trained a perceptron of two layers"
            run.execution = run.execution or dataclasses.replace(trained.execution, chunks=1)
        else:
            head, labels = self.fit_linear_head(run, network, features)
            head.put_into(find_head(network)[1])
            note = head.note
        trained = self.trained(run, network, steps, name, run.execution)
        computed = f", {features.num_computed:,} of them computed now" if features.num_computed < len(rows) else ""
        note = f"features of {len(rows):,} rows{computed}; {note}"
        if is_fresh(stage):
            note += "; the backbone has learned nothing yet: pretrained or weights_file gives it a better start"
        part = TrainedPart(trained, self.record(run, self.head, trained, note), labels)
        self.save_head(run, part)
        return part

    def feature_rows(self, data: TrainingData) -> NDArray[np.int64]:
        """The rows whose features the head is found on."""
        if self.head == "linear" or (self.head == "prototypes" and not self.num_refinements):
            return np.unique(data.labeled)
        return np.unique(np.concatenate([data.pool, *([data.validation] if self.head == "method" else [])]))

    def compute_features(self, run: RecipeRun, network: nn.Module, rows: NDArray[np.int64]) -> FrozenFeatures:
        """Compute the features of these rows, or find those of earlier runs, which are paid for all the same."""
        share = (1 - self.finetune) * (_FEATURES_SHARE if self.head == "method" else 1.0)
        budget = run.stage.budget
        limit = None
        if budget.is_timed:
            wall_s, cpu_s = (None if total is None else share * total for total in (budget.wall_s, budget.cpu_s))
            limit = Budget(wall_s, cpu_s)
        features = frozen_features(
            network, run.stage.data, rows,
            folder=None if run.folder is None else feature_folder(),
            device=run.device, execution=run.execution, budget=limit,
        )  # fmt: skip
        run.ledger.spent += features.cost_before
        return features

    def fit_linear_head(
        self, run: RecipeRun, network: nn.Module, features: FrozenFeatures
    ) -> tuple[LinearHead, PoolLabels | None]:
        """Fit the linear head asked for; with the pseudo-labels it learned from, if there are any."""
        data, seed = run.stage.data, run.stage.settings.seed
        num_classes, labels = len(data.classes), _classes(data)
        has_bias = find_head(network)[1].bias is not None
        if self.head == "label_propagation":
            known = np.concatenate([labels, np.full(len(data.unlabeled), -1)])
            head, propagated = propagated_head(
                features.rows, data.pool, known, num_classes, num_neighbors=self.num_neighbors, alpha=self.alpha,
                seed=seed, device=run.device, has_bias=has_bias,
            )  # fmt: skip
            label = propagated.label[len(labels) :]
            certainty = propagated.certainty[len(labels) :].astype(np.float32)
            return head, PoolLabels(data.unlabeled, label, certainty, (certainty > 0).astype(np.int64))
        rows = features.rows[torch.from_numpy(data.labeled)].numpy()
        weight = None if data.weight is None else data.weight.numpy(force=True).astype(np.float64)
        if self.head == "linear":
            return logistic_head(rows, labels, num_classes, weight=weight, seed=seed, has_bias=has_bias), None
        pool = features.rows[torch.from_numpy(data.unlabeled)].numpy() if self.num_refinements else None
        return prototype_head(
            rows, labels, num_classes, weight=weight, pool=pool,
            num_refinements=self.num_refinements, threshold=self.threshold, has_bias=has_bias,
        ), None  # fmt: skip

    def train_method_head(self, run: RecipeRun, features: FrozenFeatures) -> Trained:
        """Train a perceptron on the features by the stage's method."""
        stage, noise = run.stage, self.noise
        data, rows = stage.data, stage.data.pool
        if len(rows) > _MAX_SCALE_ROWS:
            drawn = generator("feature scale", stage.settings.seed).choice(rows, _MAX_SCALE_ROWS, replace=False)
            rows = np.sort(drawn)
        scale = features.rows[torch.from_numpy(rows)].std(0, correction=0).clamp(min=1e-6)
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
        # The stage's optimizer and frozen layers are about its network, not about the perceptron.
        settings = dataclasses.replace(stage.settings, optimizer=AdamW(), freeze="")
        execution = run.execution and dataclasses.replace(run.execution, channels_last=False, compiled=False)
        budget = run.ledger.grant("head", _share_until(run, 1 - self.finetune))
        head = Stage(
            name="head", settings=settings, data=on_features, network=network, network_name="mlp", budget=budget
        )  # fmt: skip
        return run.fit(head, execution)

    # All layers.

    def train_all_layers(self, run: RecipeRun, head: Trained) -> TrainedPart:
        """Train all layers by the stage's method, earlier blocks at lower rates."""
        stage = run.stage
        optimizer = stage.settings.optimizer
        optimizer = dataclasses.replace(optimizer, layer_decay=self.layer_decay * optimizer.layer_decay)
        until = min(1.0, run.ledger.spent_share + self.finetune)
        finetuning = dataclasses.replace(
            stage,
            name="finetune",
            settings=dataclasses.replace(stage.settings, optimizer=optimizer),
            network=copy.deepcopy(head.model).cpu(),
            network_name=head.network_name,
            budget=run.ledger.grant("finetune", _share_until(run, until)),
        )
        trained = run.fit(finetuning, run.execution)
        trained = dataclasses.replace(trained, network_name=head.network_name)
        note = f"{stage.settings.method.name} on all layers"
        return TrainedPart(trained, self.record(run, "finetune", trained, note))

    # The records, and what a later process goes on from.

    def record(self, run: RecipeRun, name: str, trained: Trained, note: str) -> dict[str, Any]:
        """The figures of a finished part."""
        data = run.stage.data
        probabilities = predict(trained.model, data, data.validation, device=run.device, execution=run.execution)
        accuracy, learned = run.validation_accuracy(probabilities), self.learns_from_pool(name, run.stage)
        cost = trained.cost if trained.history else run.ledger.cost  # a fitted head has no training of its own
        return run.record(
            name, trained.steps, cost, validation_accuracy=accuracy, learned_from_pool=learned, note=note
        )  # fmt: skip

    def learns_from_pool(self, name: str, stage: Stage) -> bool:
        """Whether unlabeled rows play a part in the head, or in fine-tuning after it."""
        if self.head == "label_propagation" or (self.head == "prototypes" and self.num_refinements):
            return True
        return (self.head == "method" or name == "finetune") and stage.settings.method.unlabeled_batch_size(1) > 0

    def trained(
        self, run: RecipeRun, network: nn.Module, steps: int, network_name: str, execution: Execution | None
    ) -> Trained:
        """The network with its head as a finished run, whose cost is the recipe's."""
        return Trained(
            model=network.to(run.device).eval(),
            steps=steps,
            best_step=steps,
            cost=Cost(),
            execution=execution or Execution(threads=torch.get_num_threads()),
            history=(),
            network_name=network_name,
        )

    def save_head(self, run: RecipeRun, part: TrainedPart) -> None:
        """Write the head for a later process to go on from."""
        if run.folder is not None:
            if part.labels is not None:
                part.labels.save(run.folder / "pseudo_labels.npz")
            save_weights(run.folder / "head.safetensors", dict(part.trained.model.state_dict()))
            about = {"network_name": part.trained.network_name, "record": part.record}
            write_json(run.folder / "head.json", about | {"execution": dataclasses.asdict(part.trained.execution)})

    def load_head(self, run: RecipeRun) -> TrainedPart | None:
        """The head that `save_head` wrote, at the cost it had then; None if there is none or its file is damaged."""
        if run.folder is None or not (run.folder / "head.json").exists():
            return None
        weights = load_tensors(run.folder / "head.safetensors")
        if weights is None:
            return None
        about, network = read_json(run.folder / "head.json"), copy.deepcopy(run.stage.network)
        record = about["record"]
        if about["network_name"].endswith(MLP_HEAD):
            width = find_head(network)[1].in_features
            network = with_head(network, build("mlp", shape=(width,), num_classes=len(run.stage.data.classes)))
        network.load_state_dict(weights[0])
        run.ledger.spent, run.ledger.spent_steps = Cost(record["wall_s"], record["cpu_s"]), record["steps"]
        trained = self.trained(
            run, network, record["steps"], about["network_name"], Execution(**about["execution"])
        )  # fmt: skip
        run.execution = run.execution or trained.execution
        path = run.folder / "pseudo_labels.npz"
        labels = PoolLabels.load(path)
        return None if labels is None and path.exists() else TrainedPart(trained, record, labels)


@dataclass(frozen=True, eq=False)
class TrainedPart:
    """A finished part: the classifier, its record, and the labels it gave to the pool."""

    trained: Trained
    record: dict[str, Any]
    labels: PoolLabels | None = None


def _share_until(run: RecipeRun, until: float) -> float:
    """The share of the budget left that may go until so much of the whole is spent."""
    spent = run.ledger.spent_share
    return min(1.0, max(_MIN_SHARE, (until - spent) / max(_MIN_SHARE, 1 - spent)))


def _classes(data: TrainingData) -> NDArray[np.int64]:
    targets = data.targets if data.targets.ndim == 1 else data.targets.argmax(-1)
    return targets.numpy(force=True).astype(np.int64)
