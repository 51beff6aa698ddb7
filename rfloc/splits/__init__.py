"""Known and unknown streets: areas held out with a buffer, and the proof that nothing leaks."""

from rfloc.splits.areas import blocks_of, crosses, held_out, unknown_area, val_area
from rfloc.splits.leakage import LEAKS, leakage_report, made_for, require_own
from rfloc.splits.roles import all_train, folds, in_frame_of, make_split, roles_by_area, split_like

__all__ = [
    "LEAKS", "all_train", "blocks_of", "crosses", "folds", "held_out", "in_frame_of", "leakage_report", "made_for",
    "make_split", "require_own", "roles_by_area", "split_like", "unknown_area", "val_area",
]  # fmt: skip
