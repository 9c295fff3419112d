"""How large a student's network is beside the one it learns from."""

from __future__ import annotations

from torch import nn


def size_note(student: nn.Module, other: nn.Module, whose: str) -> str:
    """The student's number of weights beside another network's, as a sentence.

    Args:
        whose: Whose network the other is, such as "the teacher's".
    """
    num_student, num_other = (sum(weight.numel() for weight in network.parameters()) for network in (student, other))
    relation = "as large as"
    if num_student != num_other:
        relation = "smaller than" if num_student < num_other else "larger than"
    return f"the student has {num_student:,} weights, {relation} {whose} {num_other:,}"
