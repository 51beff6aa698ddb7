"""Studies that one chapter tells: they may use every room, and only pages, figures and the command line use them."""

from rfloc.studies import cost, released
from rfloc.studies.agreement import Judge
from rfloc.studies.levels import (
    BASELINE,
    CONFIGURATIONS_READ,
    RECIPES,
    LevelModels,
    held_out,
    level_columns,
    pose_tables,
    ratio,
    rms,
    ways_of_holding_out,
)
from rfloc.studies.seeds import seeds_study
from rfloc.studies.sensitivity import Simulator, stands_out, study, variants
from rfloc.studies.unmeasured import Unmeasured, statistical_maps
