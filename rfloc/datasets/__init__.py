"""Links datasets: who fills the arrays, by measurement or simulation; and nothing else differs."""

from rfloc.datasets.hidden import hidden_campaign
from rfloc.datasets.measured import read_campaign
from rfloc.datasets.positions import estimate_positions

__all__ = ["estimate_positions", "hidden_campaign", "read_campaign"]
