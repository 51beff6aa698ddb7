"""Training: crops drawn on the fly, a Lightning module, staged experiments and their checkpoints."""

from rfloc.localizers.map_radioformer import sinusoids, unpatch
from rfloc.localizers.networks import as_tensors, build_network, predict  # here, where PyTorch is loaded anyway
from rfloc.localizers.pair import obstructed, stations_told
from rfloc.training.batches import open_oslo, open_sources, open_targets, open_validation, told
from rfloc.training.checkpoints import init_checkpoint, load_checkpoint, load_localizer
from rfloc.training.experiment import run_experiment
