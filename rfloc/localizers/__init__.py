"""Localizers: each maps a batch of crops to a posterior over the crop grid, from the crop centre to MapRadioFormer+.

One evaluator decodes, scores and draws them all. Networks are in :mod:`rfloc.localizers.networks`, which loads PyTorch.
"""

from rfloc.localizers.base import Centre, Estimator, Localizer, Pooled, StreetMedian, trivial_rows
from rfloc.localizers.baselines import KNearest, MapPosterior, fingerprinting
from rfloc.localizers.kriged import CellFields, Ground, KrigedOptions, KrigedPosterior
