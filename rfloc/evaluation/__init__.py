"""Evaluation: posteriors to estimates, estimates to errors with intervals, errors to the paper's tables."""

from rfloc.evaluation.bootstrap import block_index, block_interval, paired_difference
from rfloc.evaluation.decode import geometric_median
from rfloc.evaluation.errors import UEErrors, distances, ue_errors
from rfloc.evaluation.paper import paper_says, printed
from rfloc.evaluation.plateau import Learned, learned
from rfloc.evaluation.score import evaluate
from rfloc.evaluation.tables import METHODS, Row, as_frame, as_json, error_records, headline, metres, table1
from rfloc.evaluation.uncertainty import to_power
