import numpy as np
import xarray as xr

from rfloc.crops import CropBatcher, cell_centres
from rfloc.localizers import Pooled
from rfloc.localizers.base import normalised
from tests.handmade import crop_params, make_links, open_raster

CROPS = crop_params()


class Bell:
    """A Gaussian of `stated` deviation [m] round the UE moved by one of `actual`, drawn by UE."""

    def __init__(self, name, stated, actual, seed):
        self.name, self.stated, self.gap = name, stated, np.random.default_rng(seed).normal(0, actual, (500, 2))

    def posterior(self, batch):
        x, y = cell_centres(batch.size, CROPS.output)
        at = batch.target_xy + self.gap[batch.ue]
        square = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
        return normalised(-square / (2 * self.stated**2))


def test_powers_say_what_a_part_is_worth_and_alone_to_the_power_one_it_stays():
    ue = np.random.default_rng(3).uniform(-100, 100, (300, 2))
    batcher = CropBatcher(make_links(ue, np.zeros((1, 2)), np.full((300, 1), -80.0)), open_raster(), CROPS)
    columns = {"ue": np.arange(300), "crop_x": np.zeros(300), "crop_y": np.zeros(300)}
    tests = xr.Dataset({name: ("sample", values) for name, values in columns.items()})
    honest, bold, blind = Bell("honest", 60, 60, 0), Bell("bold", 40, 80, 1), Bell("blind", 60, 5000, 2)
    pooled = Pooled.fit([honest, bold, blind], batcher, tests)
    # stated variance over the actual one, as a product of independent Gaussians demands; the blind one says nothing
    np.testing.assert_allclose(pooled.powers[:2], [1.0, 0.25], atol=0.2)
    assert pooled.powers[2] < 0.05
    batch = batcher.batch(np.arange(4), np.zeros(4), np.zeros(4))
    np.testing.assert_allclose(pooled.posterior(batch).sum(axis=(1, 2)), 1)
    got = Pooled([honest], [1.0]).posterior(batch)  # a part alone to the power one stays
    np.testing.assert_allclose(got, 0.99 * honest.posterior(batch) + 0.01 / CROPS.output**2, atol=1e-12)
