"""Networks, and what the engine must know of them: input layers, head, and batch-norm statistics."""

from understudy.models.batch_norm import evaluation_check, frozen_statistics, recompute_statistics
from understudy.models.heads import check_features, check_network, feature_width, find_head, logits_and_features
from understudy.models.normalize import Normalize, PatchWhitening, fit_input
from understudy.models.own import as_module, is_code, load_state, prepared
from understudy.models.pretrained import weights_note
from understudy.models.zoo import build, check_name, names

__all__ = [
    "Normalize",
    "PatchWhitening",
    "as_module",
    "build",
    "check_features",
    "check_name",
    "check_network",
    "evaluation_check",
    "feature_width",
    "find_head",
    "fit_input",
    "frozen_statistics",
    "is_code",
    "load_state",
    "logits_and_features",
    "names",
    "prepared",
    "recompute_statistics",
    "weights_note",
]
