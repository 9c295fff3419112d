"""Pretraining: features are learned from all rows without labels, and a method or another recipe starts from them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from torch import nn

from understudy.core.config import Knob
from understudy.core.errors import ConfigError
from understudy.core.files import write_json
from understudy.core.seeding import seed_torch
from understudy.engine.finalize import Trained
from understudy.engine.stage import Stage
from understudy.methods.base import Pretext
from understudy.methods.simclr import SimCLR
from understudy.models.heads import find_head, layers_named
from understudy.recipes.base import RECIPES, Recipe, RecipeRun
from understudy.recipes.plain import Plain

PROBES = {"knn_accuracy": "kNN", "linear_accuracy": "linear"}


@RECIPES.register("pretrain")
@dataclass(frozen=True, kw_only=True)
class Pretrain(Recipe):
    """A pretext method trains the network without a label; the stage's method starts from the features it leaves.

    `downstream` names another recipe in place of the method's single run: with `noisy_student` or `self_training`, the
    teacher and all students start from the pretrained features.

    `pretext_share` of the budget goes into pretraining, all that is left into the downstream part. At every evaluation
    of pretraining, labeled training images are classified by the averaged weights' features: each by its nearest others
    (kNN), and by a cross-validated linear classifier. The weights with the best kNN accuracy are kept, the last ones if
    there are too few labels to measure it. Their file, `pretext/model.safetensors`, serves as `weights_file` elsewhere.

    Pretraining moves all layers at one rate; `freeze` and `layer_decay` are about the downstream part. The supervised
    baseline has the cost of both parts and is not pretrained, since pretraining uses the unlabeled images.
    """

    summary: ClassVar[str] = "Learn features without labels first, then train the method from them."
    use_when: ClassVar[str] = "with many unlabeled images, few labels, no pretrained network, and a long budget"

    pretext: Pretext[Any] = field(default_factory=SimCLR)
    downstream: Recipe = field(default_factory=Plain)
    pretext_share: Annotated[float, Knob("share of the budget for pretraining", 0.01, 0.99)] = 0.5
    refresh_head: Annotated[bool, Knob("reinitialize the head after pretraining")] = True
    freeze: Annotated[str, Knob("layers frozen after pretraining; overrides the setting freeze")] = ""
    layer_decay: Annotated[
        float | None,
        Knob("layer-wise learning-rate decay after pretraining; by default that of the optimizer", 0, 1),
    ] = None

    def outline(self, method: str) -> str:
        """Both parts and their shares of the budget."""
        share = f"{100 * self.pretext_share:.0f} % of it {self.pretext.name}"
        return f"{self.name} ({share}, the rest {self.downstream.outline(method)} from these features)"

    def check(self, stage: Stage) -> None:
        """Validate that there are images to learn features from, and layers left to train on them.

        Raises:
            ConfigError: There is no unlabeled row, the pretext needs images and there are none, or `downstream` is
                this recipe or does not suit the stage.
            UserError: `freeze` names no layer of the network, or leaves nothing to train.
        """
        if isinstance(self.downstream, Pretrain):
            raise ConfigError(f"recipe.downstream is {self.name!r}; pretrain once, and name another recipe or none")
        if not len(stage.data.unlabeled):
            raise ConfigError(
                f"recipe {self.name} learns from unlabeled images and there are none; "
                "give some, or take the recipe plain"
            )
        dataclasses.replace(stage, settings=dataclasses.replace(stage.settings, method=self.pretext))
        find_head(stage.network)  # raises if there is none to draw anew
        layers_named(stage.network, self.freeze or stage.settings.freeze)  # fail before hours are spent on pretraining
        self.downstream.check(stage)

    def train_stages(self, run: RecipeRun) -> Trained:
        """Train features without labels, then the downstream part from them."""
        pretext = run.fit(self.pretext_stage(run), run.execution)
        curve = _probe_curve(pretext)
        if run.folder is not None:
            write_json(run.folder / "probes.json", curve)
        self.report_pretext(run, pretext, curve)
        execution = dataclasses.replace(pretext.execution, chunks=1)
        downstream = self.downstream_stage(run, pretext.model)
        folder = run.subfolder(downstream.name)
        trained = self.downstream.train(downstream, folder, observe=run.observers, execution=execution)
        run.ledger.pay(trained)
        # Whatever the downstream part made of the unlabeled images, the features were learned from all of them.
        rounds = [record | {"learned_from_pool": True, "pretext": self.pretext.name} for record in trained.rounds]
        return run.at_full_cost(trained, rounds=(*curve, *rounds))

    def pretext_stage(self, run: RecipeRun) -> Stage:
        """The first part: all layers, none of the labels."""
        settings = run.stage.settings
        optimizer = dataclasses.replace(settings.optimizer, layer_decay=1.0)
        settings = dataclasses.replace(settings, method=self.pretext, optimizer=optimizer, freeze="")
        budget = run.ledger.grant("pretext", self.pretext_share)
        return dataclasses.replace(run.stage, settings=settings, budget=budget, name="pretext")

    def downstream_stage(self, run: RecipeRun, features: nn.Module) -> Stage:
        """The downstream part: from the pretrained weights and a head that has learned nothing yet."""
        stage, settings = run.stage, run.stage.settings
        network = copy.deepcopy(features).cpu()
        _, head = find_head(network)
        if self.refresh_head:
            seed_torch("refreshed head", settings.seed)
            head.reset_parameters()
        else:
            head.load_state_dict(find_head(stage.network)[1].state_dict())
        optimizer = settings.optimizer
        if self.layer_decay is not None:
            optimizer = dataclasses.replace(optimizer, layer_decay=self.layer_decay)
        settings = dataclasses.replace(settings, optimizer=optimizer, freeze=self.freeze or settings.freeze)
        budget = run.ledger.grant("method", 1.0)
        name = settings.method.name if isinstance(self.downstream, Plain) else self.downstream.name
        return dataclasses.replace(stage, settings=settings, network=network, budget=budget, name=name)

    def report_pretext(self, run: RecipeRun, pretext: Trained, curve: Sequence[dict[str, Any]]) -> None:
        """Report what was pretrained, how good the probes found the features, and what starts from them."""
        kept = "too few labels to probe the features, so the last ones are kept"
        for point in curve:
            if point["kept"]:
                figures = [f"{title} {100 * point[name]:.1f} %" for name, title in PROBES.items() if name in point]
                kept = f"the features of step {point['step']:,} of {pretext.steps:,} are kept: {', '.join(figures)}"
        downstream = self.downstream.outline(run.stage.settings.method.name)
        note = f"{self.pretext.name}; {kept}; {downstream} starts from them"
        run.notify("pretext", pretext.steps, {"name": "pretraining", "note": note})


def _probe_curve(pretext: Trained) -> list[dict[str, Any]]:
    """The accuracy of the probes at every evaluation that had them; the point whose weights are kept is marked."""
    names = ("step", "progress", *PROBES)
    return [
        {name: line[name] for name in names if name in line} | {"kept": line["step"] == pretext.best_step}
        for line in pretext.history
        if any(name in line for name in PROBES)
    ]
