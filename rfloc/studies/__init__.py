"""Studies that one chapter tells: they may use every room, and only pages, figures and the command line use them."""

from rfloc.studies import cost, levels, released
from rfloc.studies.agreement import Judge, Unmeasured, statistical_maps
from rfloc.studies.seeds import seeds_study
from rfloc.studies.sensitivity import Simulator, stands_out, study, variants
