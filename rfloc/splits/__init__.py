"""Known and unknown streets: areas held out with a buffer, and the proof that nothing leaks."""

from rfloc.splits.areas import area_of_blocks, blocks_of, crosses, held_out, near, unknown_area, val_area
from rfloc.splits.leakage import LEAKS, leakage_report, made_for, require_own
from rfloc.splits.roles import all_train, folds, in_frame_of, make_split, roles_by_area, split_like
