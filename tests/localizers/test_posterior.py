import numpy as np
import pytest
import xarray as xr
from scipy.stats import t

from rfloc.config import BaselineParams, RadioParams
from rfloc.crops import CropBatcher, cell_centres
from rfloc.errors import SchemaError
from rfloc.frames import Grid
from rfloc.localizers.base import jitter_prior
from rfloc.localizers.posterior import MapPosterior
from rfloc.schema import validate, with_units
from tests.handmade import FRAME, crop_params, make_links, open_raster, path_loss

GRID = Grid(-600.0, -600.0, 5.0, 240, 240)
BS = np.array([[-150.0, -120.0], [180.0, -60.0], [20.0, 200.0], [-90.0, 90.0]])


def _maps(grid=GRID):
    return np.moveaxis(path_loss(np.stack(np.meshgrid(grid.x, grid.y), axis=-1), BS), -1, 0)


def quiet(sensitivity):
    """A receiver that nothing drowns: only the sensitivity censors."""
    return RadioParams(pattern="isotropic", sensitivity_dbm=float(sensitivity), load=0.0, detection_db=-300.0)


def _localizer(level, sd=4.0, temper=1.0, missed=0.0, radio=None, grid=GRID, within="square", **crops):
    """A localizer on maps of NRSRP [dBm]: stations of 43 dBm, 1,008 resource elements."""
    links = make_links(np.zeros((1, 2)), BS, np.full((1, 4), -80.0))
    gain = np.nan_to_num(10 ** ((level - 43 + 10 * np.log10(1008)) / 10)).astype(np.float32)
    coords = {f"bs_{k}": links[f"bs_{k}"] for k in ("x", "y", "h", "azimuth", "power", "id")}
    attrs = {"carrier_hz": 8e8} | FRAME.to_attrs() | grid.to_attrs()
    maps = validate(with_units(xr.Dataset({"path_gain": (("bs", "y", "x"), gain)}, coords, attrs), "maps"), "maps")
    baselines = BaselineParams(posterior_sd=sd, temper=temper, missed=missed)
    return MapPosterior(maps, links, radio or quiet(-118.0), crop_params(output=56, **crops), baselines, within=within)


def _batch(level, ue=((0.0, 0.0),), centre=(0.0, 0.0), raster=None, max_bs=6, **features):
    ue = np.array(ue, float)
    links = make_links(ue, BS, np.atleast_2d(level), **features)
    batcher = CropBatcher(links, raster or open_raster(1400), crop_params(output=56, max_bs=max_bs))
    return batcher.batch(np.arange(len(ue)), np.full(len(ue), centre[0]), np.full(len(ue), centre[1]))


def test_equals_bayes_rule_written_out():
    """Three stations heard, one silent, on a grid as coarse as the output: product of densities, by hand."""
    grid = Grid(-600.0, -600.0, 10.0, 120, 120)
    level = np.array([-85.0, -95.0, -90.0, np.nan])
    localizer = _localizer(_maps(grid), sd=6.0, temper=0.5, radio=quiet(-100.0), grid=grid)
    got = localizer.posterior(_batch(level))[0]
    x, y = cell_centres(560, 56)
    predicted = np.maximum(path_loss(np.stack([x, y], axis=-1), BS), -112.0)
    want = t.pdf(level[:3], 4, predicted[..., :3], 6.0).prod(axis=-1) * t.cdf(-100.0, 4, predicted[..., 3], 6.0)
    want = np.sqrt(want) * jitter_prior(crop_params(output=56))
    np.testing.assert_allclose(got, want / want.sum(), atol=1e-6)
    links = make_links(np.zeros((1, 2)), BS, np.full((1, 4), -80.0))
    with pytest.raises(SchemaError, match="different stations"):
        MapPosterior(links.drop_dims("ue").isel(bs=[1, 0, 2, 3]), links, quiet(-118), crop_params(), BaselineParams())


def test_full_slots_lower_the_bar_for_silence():
    """With every slot taken, a station left out was only weaker than the weakest listed."""
    batch = _batch([-70.0, -75.0, np.nan, np.nan], max_bs=1)
    maps = np.full((4, *GRID.shape), -np.inf)
    maps[0] = -70.0
    maps[1] = np.where(GRID.x < 0, -75.0, -118.0)
    posterior = _localizer(maps, sd=3.0, max_bs=1).posterior(batch)[0]
    assert 0.4 < posterior[:, :28].sum() < 0.6  # under the plain sensitivity, the west would be ruled out


def test_silence_of_a_drowned_station_says_little():
    """Reports that put noise and interference at -75 dBm drown what lies 20 dB under them."""
    level = np.array([[-70.0, -72.0, -71.0, np.nan]])
    batch = _batch(level, nsinr=level + 75.0)
    maps = np.broadcast_to(np.nan_to_num(level[0], nan=-90.0)[:, None, None], (4, *GRID.shape)).copy()
    maps[3] = np.where(GRID.x < 0, -105.0, -85.0)  # weak in the west, strong in the east
    drowned = RadioParams(pattern="isotropic", sensitivity_dbm=-118.0, load=0.0, detection_db=-20.0)
    west = _localizer(maps, radio=drowned).posterior(batch)[0, :, :28].sum()
    assert west > 0.95  # -105 dBm lies under the -95 dBm that could be reported, -85 dBm does not
    missed = _localizer(maps, radio=drowned, missed=0.5).posterior(batch)[0, :, :28].sum()
    assert 0.6 < missed < 0.72  # silence now weighs at most 2 : 1


def test_no_ray_is_low_not_impossible():
    maps = _maps()
    maps[:, :, :120] = -np.inf  # nothing arrives in the west
    batch = _batch(path_loss(np.array([[100.0, 0.0]]), BS), [[100.0, 0.0]])
    posterior = _localizer(maps).posterior(batch)
    assert np.isfinite(posterior).all() and posterior[0, :, 28:].sum() > 0.99
    blank = _localizer(np.full_like(maps, np.nan)).posterior(batch)
    np.testing.assert_allclose(blank[0], jitter_prior(crop_params(output=56)), atol=1e-9)


def test_streets_bound_the_answer():
    raster = open_raster(1400)
    raster["road"].values[:] = 0
    raster["road"].values[700:730] = 1
    batch = _batch(path_loss(np.array([[50.0, 15.0]]), BS), [[50.0, 15.0]], raster=raster)
    posterior = _localizer(_maps()).posterior(batch)[0]
    rows = np.flatnonzero(posterior.sum(axis=1) > 1e-12)
    assert set(rows) == {25, 26, 27}  # y 0..30 of a crop whose row 27 ends at y = 0


def test_without_a_crop_every_station_says_something():
    """Silence of a station outside of the crop counts, unless it has no place; heard ones count wherever they stand."""
    level = path_loss(np.array([[0.0, 0.0]]), BS)
    level[0, 3] = np.nan
    links = make_links(np.zeros((1, 2)), BS, level)
    batcher = CropBatcher(links, open_raster(1400), crop_params(output=56))
    small = batcher.zoom(batcher.batch([0], [0.0], [0.0]), np.zeros((1, 2)), 112.0)  # none of the four stands inside
    square, city = (
        _localizer(_maps(), radio=quiet(-96.0), within=name).posterior(small)[0] for name in ("square", "city")
    )
    x, y = cell_centres(112, 56)
    loud = path_loss(np.stack([x, y], axis=-1), BS[3:])[..., 0] > -96
    assert city[loud].sum() < square[loud].sum() - 0.02
    np.testing.assert_allclose([square.sum(), city.sum()], 1)
