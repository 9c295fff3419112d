"""Pretraining: features are learned from all rows without labels, and a method or another recipe starts from them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from torch import nn

from understudy.core.config import Knob, to_table
from understudy.core.errors import ConfigError
from understudy.core.files import write_json
from understudy.core.seeding import seed_torch
from understudy.core.types import Step
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import Observer, Round, StepReport
from understudy.engine.rundir import RunFolder
from understudy.engine.stage import Stage
from understudy.methods.base import Pretext
from understudy.methods.simclr import SimCLR
from understudy.models.heads import find_head, layers_named
from understudy.models.nets import Execution
from understudy.recipes.base import RECIPES, Purse, Recipe
from understudy.recipes.plain import Plain

PROBES = {"knn_accuracy": "kNN", "linear_accuracy": "linear"}


@RECIPES.register("pretrain")
@dataclass(frozen=True, kw_only=True)
class Pretrain(Recipe):
    """A pretext method trains the network without a label; the stage's method starts from the features it leaves.

    `downstream` names another recipe in place of the method's single run: with `noisy_student` or `self_training`, the
    teacher and all students start from the pretrained features.

    `pretext_share` of the budget goes into pretraining, all that is left into the downstream part. At every evaluation
    of pretraining, labeled training images are told apart by the averaged weights' features: each by its nearest others
    (kNN), and by a cross-validated linear classifier. The weights that kNN finds best are handed on, the last ones if
    there are too few labels to ask. Their file, `pretext/model.safetensors`, serves as `weights_file` elsewhere.

    Pretraining moves all layers at one rate; `freeze` and `layer_decay` are about the downstream part. The supervised
    baseline has the cost of both parts and is not pretrained, since pretraining uses the unlabeled images.
    """

    summary: ClassVar[str] = "Learn features without labels first, then train the method from them."
    use_when: ClassVar[str] = "with many unlabeled images, few labels, no pretrained network, and a long budget"

    pretext: Pretext[Any] = field(default_factory=SimCLR)
    downstream: Recipe = field(default_factory=Plain)
    pretext_share: Annotated[float, Knob("share of the budget for pretraining", 0.01, 0.99)] = 0.5
    refresh_head: Annotated[
        bool, Knob("draw the head anew for the method; else it starts as the network given had it")
    ] = True
    freeze: Annotated[
        str, Knob("layers that the method leaves as pretrained, as in the setting freeze, which it replaces if given")
    ] = ""
    layer_decay: Annotated[
        float | None,
        Knob("for the method: rate of a block as a share of the next one's; the optimizer's own if not given", 0, 1),
    ] = None

    def outline(self, method: str) -> str:
        """Both parts and their shares of the budget."""
        share = f"{100 * self.pretext_share:.0f} % of it {self.pretext.name}"
        return f"{self.name} ({share}, the rest {self.downstream.outline(method)} from these features)"

    def check(self, stage: Stage) -> None:
        """Nothing, when there is something to learn features from, and something left to train on them.

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
        find_head(stage.network)  # which is drawn anew
        layers_named(stage.network, self.freeze or stage.settings.freeze)  # before hours went into pretraining
        self.downstream.check(stage)

    def train(
        self,
        stage: Stage,
        folder: Path | None = None,
        *,
        observe: Sequence[Observer] = (),
        execution: Execution | None = None,
    ) -> Trained:
        """The classifier that the downstream part makes of pretrained features.

        Raises:
            UserError: As `check`.
        """
        self.check(stage)
        if folder is None:
            return self._both(stage, None, observe, execution)
        run_folder = RunFolder(folder)
        with run_folder.claim():
            run_folder.recognize({"recipe": repr(sorted(to_table(self).items())), **stage.identity()})
            return self._both(stage, folder, observe, execution)

    def _both(
        self, stage: Stage, folder: Path | None, observe: Sequence[Observer], execution: Execution | None
    ) -> Trained:
        purse = Purse(stage.budget, folder)

        def where(part: Stage) -> Path | None:
            return None if folder is None else folder / part.name

        first = self._pretext_stage(stage, purse)
        pretext = purse.pay(fit(first, where(first), observe=observe, execution=execution))
        lines = _probe_lines(pretext)
        if folder is not None:
            write_json(folder / "probes.json", lines)
        self._tell(stage, purse, pretext, lines, observe)
        execution = dataclasses.replace(pretext.execution, chunks=1)
        second = self._second_stage(stage, pretext.model, purse)
        last = purse.pay(self.downstream.train(second, where(second), observe=observe, execution=execution))
        # Whatever the downstream part made of the unlabeled images, the features were learned from all of them.
        rounds = [line | {"learned_from_pool": True, "pretext": self.pretext.name} for line in last.rounds]
        return dataclasses.replace(last, steps=purse.spent_steps, cost=purse.cost, rounds=(*lines, *rounds))

    def _pretext_stage(self, stage: Stage, purse: Purse) -> Stage:
        """The first part: all layers, none of the labels."""
        settings = stage.settings
        optimizer = dataclasses.replace(settings.optimizer, layer_decay=1.0)
        settings = dataclasses.replace(settings, method=self.pretext, optimizer=optimizer, freeze="")
        budget = purse.grant("pretext", self.pretext_share)
        return dataclasses.replace(stage, settings=settings, budget=budget, name="pretext")

    def _second_stage(self, stage: Stage, features: nn.Module, purse: Purse) -> Stage:
        """The downstream part: from the pretrained weights and a head that learned nothing yet."""
        settings = stage.settings
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
        budget = purse.grant("method", 1.0)
        name = settings.method.name if isinstance(self.downstream, Plain) else self.downstream.name
        return dataclasses.replace(stage, settings=settings, network=network, budget=budget, name=name)

    def _tell(
        self,
        stage: Stage,
        purse: Purse,
        pretext: Trained,
        lines: Sequence[dict[str, Any]],
        observe: Sequence[Observer],
    ) -> None:
        """Say to whoever watches what was pretrained, what the probes made of it, and what goes on from there."""
        found = "too few labels to probe the features, so the last ones are kept"
        for line in lines:
            if line["kept"]:
                figures = [f"{title} {100 * line[name]:.1f} %" for name, title in PROBES.items() if name in line]
                found = f"the features of step {line['step']:,} of {pretext.steps:,} are kept: {', '.join(figures)}"
        downstream = self.downstream.outline(stage.settings.method.name)
        note = f"{self.pretext.name}; {found}; {downstream} starts from them"
        told = Round(0, {"name": "pretraining", "note": note})
        step = Step(max(0, pretext.steps - 1), 1.0)
        for observer in observe:
            observer(StepReport("pretext", step, (), 1.0, 2, purse.cost, stage.budget, None, round=told))


def _probe_lines(pretext: Trained) -> list[dict[str, Any]]:
    """The curve of the probes: a line for every evaluation that took one, of which one is kept."""
    names = ("step", "progress", *PROBES)
    return [
        {name: line[name] for name in names if name in line} | {"kept": line["step"] == pretext.best_step}
        for line in pretext.history
        if any(name in line for name in PROBES)
    ]
