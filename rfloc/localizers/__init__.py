"""Localizers: each maps a batch of crops to a posterior over the crop grid, from the crop centre to MapRadioFormer+.

One evaluator decodes, scores and draws them all. Networks are in :mod:`rfloc.localizers.networks`, which loads PyTorch.
"""

from rfloc.localizers.base import Estimator, Localizer
from rfloc.localizers.knn import KNearest, fingerprinting
from rfloc.localizers.kriged import CellFields, Ground, KrigedOptions, KrigedPosterior
from rfloc.localizers.pooled import Pooled
from rfloc.localizers.posterior import MapPosterior
from rfloc.localizers.trivial import Centre, StreetMedian, trivial_rows
