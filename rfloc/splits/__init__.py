"""Known and unknown streets: areas held out with a buffer, and the proof that nothing leaks."""

from rfloc.splits.areas import (
    LEAKS,
    blocks_of,
    crosses,
    held_out,
    leakage_report,
    made_for,
    require_own,
    unknown_area,
    val_area,
)
from rfloc.splits.roles import all_train, folds, in_frame_of, make_split, roles_by_area, split_like
