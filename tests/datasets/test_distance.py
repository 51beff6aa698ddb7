"""Maps of log-distance laws: exact where levels follow one, read back as levels whatever pattern the radio has."""

import numpy as np
import pytest

from rfloc.config import RadioParams
from rfloc.datasets.statistical import distance_maps
from rfloc.frames import Grid, LocalFrame
from rfloc.simulation.maps import nrsrp_map
from tests.handmade import make_links

RADIO = RadioParams(resource_blocks=1)


@pytest.mark.parametrize("pattern", ["isotropic", "tr38901"])
def test_a_law_of_each_station_is_found_and_read_off_the_maps(pattern):
    rng = np.random.default_rng(0)
    bs, ue = np.array([[0.0, 0.0], [900.0, 300.0]]), rng.uniform(-1000, 1000, (400, 2))
    radio = RADIO.model_copy(update={"pattern": pattern})

    def law(at):
        far = np.hypot(np.hypot(*(at[:, None] - bs).transpose(2, 0, 1)), 30.0 - radio.ue_height)
        return np.array([-70.0, -80.0]) - np.array([20.0, 30.0]) * np.log10(far / 300.0)

    links = make_links(ue, bs, law(ue) + rng.normal(0, 0.01, (400, 2)))
    grid = Grid.covering(-1000.0, -1000.0, 1000.0, 1000.0, 100.0)
    train = np.arange(400) < 300
    links["nrsrp"].values[~train] = -50.0  # what others report is not looked at
    levels = nrsrp_map(distance_maps(links, train, grid, radio), radio)
    x, y = (axis.ravel() for axis in np.meshgrid(grid.x, grid.y))
    assert pytest.approx(law(np.column_stack([x, y])), abs=0.2) == levels.reshape(2, -1).T
    assert LocalFrame.from_attrs(links.attrs) == LocalFrame.from_attrs(distance_maps(links, train, grid, radio).attrs)
