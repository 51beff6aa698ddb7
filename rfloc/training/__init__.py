"""Training: crops drawn on the fly, a Lightning module, staged experiments and their checkpoints."""

from rfloc.training.checkpoints import init_checkpoint, load_checkpoint, load_localizer
from rfloc.training.experiment import run_experiment
from rfloc.training.sources import open_sources, open_targets, open_validation, told
