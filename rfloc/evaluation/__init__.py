"""Evaluation: posteriors to estimates, estimates to errors with intervals, errors to the paper's tables."""

from rfloc.evaluation.bootstrap import block_interval, paired_difference
from rfloc.evaluation.errors import METRICS, UEErrors, ue_errors
from rfloc.evaluation.score import evaluate
from rfloc.evaluation.tables import compare, paper_table1, summarise

__all__ = [
    "METRICS",
    "UEErrors",
    "block_interval",
    "compare",
    "evaluate",
    "paired_difference",
    "paper_table1",
    "summarise",
    "ue_errors",
]
