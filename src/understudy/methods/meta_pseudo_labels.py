"""Meta Pseudo Labels: a teacher labels for a student, and learns from whether the student got better by it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, PseudoLabels, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label, sharpen
from understudy.functional.schedules import ramp_up
from understudy.methods.base import Method, register
from understudy.models.nets import Networks


class Feedback(nn.Module):
    """The running mean of the student's gain; and, within a step, its labels and its labeled loss before it moved.

    What lives within a step is in no checkpoint.
    """

    baseline: Float[Tensor, ""]
    before: Float[Tensor, ""]
    labels: Int[Tensor, "_"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("baseline", torch.tensor(0.0))
        self.register_buffer("before", torch.tensor(0.0), persistent=False)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.long), persistent=False)


@register
@dataclass(frozen=True, kw_only=True)
class MetaPseudoLabels(Method[Feedback]):
    """Meta Pseudo Labels (Pham et al., 2021), algorithm 1, with the UDA objective of section 2 for the teacher.

    The student S, which is the classifier, takes a step on y^_u ~ T(strong(u)): L_S = mean_u H(y^_u, S(strong(u))).
    Its gain is h = H(y_b, S(x_b)) - H(y_b, S'(x_b)), the labeled loss before the step less that after it; to first
    order this is the algorithm's dot product of gradients. The teacher T then takes a step on L_T = H(y_b, T(x_b)) +
    lambda_u mean_u 1(max q_u >= tau) H(q_u, T(strong(u))) + (h - h~) mean_u H(y^_u, T(strong(u))), where q_u is
    proportional to T(weak(u))^(1 / `temperature`) and h~ is a running mean of h. In the last `finetune` share of
    training the student learns from labeled images alone, as the paper does with a small learning rate after it.

    Differs from the paper: the supervised first phase trains both networks, from the same initial weights on different
    augmentations of the labeled images, in place of steps in which the student waits; targets and gains are measured
    in evaluation mode. The authors' code has the difference of losses the other way round and soft labels in the
    teacher's last term, which then has no gradient; labels are sampled here, as in the algorithm, or are the likeliest
    classes with `labels=argmax`. Label smoothing, 0.15 in the paper, is the criterion's. A step trains two networks on
    every strong view, so it costs about twice a FixMatch step in which every image counts.
    """

    paper: ClassVar[str] = "Pham et al., 2021, https://arxiv.org/abs/2003.10580"
    summary: ClassVar[str] = (
        "A teacher labels images for a student and is rewarded when the student's labeled loss falls."
    )
    use_when: ClassVar[str] = "with hundreds of labels or more and a long budget, because it trains two networks"
    cost: ClassVar[float | None] = 15.9
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 7
    lambda_u: Annotated[float, Knob("weight of the teacher's consistency loss", 0, probe=8.0)] = 1.0
    threshold: Annotated[float, Knob("tau: minimum confidence for the teacher's consistency loss", 0, 1, probe=1.0)] = (
        0.6
    )
    temperature: Annotated[
        float, Knob("temperature of the teacher's targets; 1 leaves them unchanged", 0, probe=2.0)
    ] = 0.7
    ramp_up_end: Annotated[
        float, Knob("share of training after which the consistency weight is fully ramped up", 0, 1, probe=1.0)
    ] = 0.02
    labels: Annotated[
        str, Knob("how pseudo-labels are drawn from the teacher's prediction", choices=("sample", "argmax"))
    ] = "sample"
    baseline_decay: Annotated[float, Knob("decay of the running mean of the student's gain", 0, 1, probe=0.2)] = 0.99
    finetune: Annotated[float, Knob("final share of training, on labeled images only", 0, 1, probe=0.6)] = 0.02

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The student, and a teacher that starts as its copy."""
        return Networks(model=classifier, teacher=copy.deepcopy(classifier))

    def memory(self, spec: DataSpec) -> Feedback:
        """The running mean of the student's gain."""
        return Feedback()

    def objectives(self) -> tuple[Objective, ...]:
        """The student's step, then the teacher's, which sees what the student's did."""
        return Objective(self.loss), Objective(self.teacher_loss, trains=("teacher",))

    def first_phase(self) -> tuple[Objective, ...]:
        """The labeled term of each network, on augmentations of its own."""
        return (
            *super().first_phase(),
            Objective(lambda nets, batch, *_: self.supervised_teacher_loss(nets, batch), trains=("teacher",)),
        )

    def loss(self, nets: Networks, batch: Batch, memory: Feedback, step: Step) -> Loss:
        """The student's loss on the teacher's labels."""
        if step.progress > 1 - self.finetune:
            return self.supervised_loss(nets, batch)
        unlabeled = batch.unlabeled
        strong = unlabeled.view("strong")
        with torch.no_grad():
            label = self.label(nets.predict(strong, by="teacher").softmax(-1), batch)
        (logits,) = nets.logits(strong)
        memory.labels = distributed.gather(label)
        memory.before = self.labeled_loss(nets, batch)  # after the forward, which moves batch-norm statistics
        weight = torch.ones_like(logits[:, 0])
        return Loss(
            terms={"unsupervised": cross_entropy(logits, label, weight)},
            pseudo_labels=PseudoLabels(unlabeled.ids, label, weight),
        )

    def teacher_loss(self, nets: Networks, batch: Batch, memory: Feedback, step: Step) -> Loss:
        """The teacher's loss after the student's step."""
        if step.progress > 1 - self.finetune:
            return self.supervised_teacher_loss(nets, batch)
        gain = memory.before - self.labeled_loss(nets, batch)
        memory.baseline.lerp_(gain, 1 - self.baseline_decay)
        weak = nets.predict(batch.unlabeled.view("weak"), by="teacher").detach()
        targets = sharpen(weak.softmax(-1), self.temperature)
        mask = above_threshold(confidence_and_label(targets)[0], self.threshold)
        logits, strong = nets.through("teacher", batch.labeled.view(), batch.unlabeled.view("strong"))
        # The very labels that the student learned from, at full weight: its gain rewards or punishes all of them.
        on_student_labels = cross_entropy(strong, distributed.share(memory.labels), torch.ones_like(mask))
        ramp = ramp_up(step.progress, self.ramp_up_end)
        return Loss(
            terms={
                "teacher_supervised": self.labeled_term(logits, batch),
                "teacher_consistency": self.lambda_u * ramp * cross_entropy(strong, targets, mask),
                "teacher_feedback": (gain - memory.baseline) * on_student_labels,
            },
            metrics={"mask_ratio": mask.mean(), "student_gain": gain},
        )

    def supervised_teacher_loss(self, nets: Networks, batch: Batch) -> Loss:
        """The teacher's labeled term alone."""
        (logits,) = nets.through("teacher", batch.labeled.view(draw=1))
        return Loss({"teacher_supervised": self.labeled_term(logits, batch)})

    @torch.no_grad()
    def labeled_loss(self, nets: Networks, batch: Batch) -> Float[Tensor, ""]:
        """The student's labeled loss as it now is, over the global batch."""
        return distributed.mean(self.labeled_term(nets.predict(batch.labeled.view(), by="model"), batch))

    def label(self, probs: Float[Tensor, "u k"], batch: Batch) -> Int[Tensor, "u"]:
        """A class for each row: drawn from its probabilities, or the likeliest."""
        if self.labels == "argmax":
            return probs.argmax(-1)
        draws = batch.random("pseudo-labels").random(len(probs) * distributed.world_size(), dtype="float32")
        drawn = torch.from_numpy(distributed.share(draws)).to(probs.device)
        return (probs.cumsum(-1) <= drawn[:, None]).sum(-1).clamp(max=probs.shape[-1] - 1)
