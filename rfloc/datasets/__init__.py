"""Links datasets: who fills the arrays, by measurement or simulation; and nothing else differs."""

from rfloc.datasets import statistical
from rfloc.datasets.build import links_from_gain
from rfloc.datasets.hidden import OTHER_RAYS, hidden_campaign
from rfloc.datasets.measured import read_campaign
from rfloc.datasets.nbiot import allocated_tests
from rfloc.datasets.positions import estimate_positions
from rfloc.datasets.statistical import distance_maps
from rfloc.datasets.synthetic import part_of_b, parts_of_c, require_unseen, simulate
