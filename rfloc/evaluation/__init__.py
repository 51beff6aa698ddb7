"""Evaluation: posteriors to estimates, estimates to errors with intervals, errors to the paper's tables."""

from rfloc.evaluation.errors import UEErrors, block_index, block_interval, distances, paired_difference, ue_errors
from rfloc.evaluation.paper import paper_says, printed
from rfloc.evaluation.score import Learned, choose, cross_fitted, evaluate, geometric_median, learned
from rfloc.evaluation.tables import METHODS, Row, as_frame, as_json, error_records, gain_frame, headline, metres, table1
from rfloc.evaluation.uncertainty import to_power
