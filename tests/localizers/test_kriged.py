"""Kriged levels: sure near training UEs, honest elsewhere, and places that are found from cells of unknown position."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from rfloc.crops import CropBatcher
from rfloc.errors import DataError
from rfloc.evaluation import geometric_median
from rfloc.frames import Grid
from rfloc.localizers import CellFields, Ground, KrigedOptions, KrigedPosterior
from rfloc.localizers.base import street_prior
from tests.handmade import crop_params, make_links, open_raster, path_loss

LATTICE = Grid(-500.0, -500.0, 25.0, 40, 40)
#: Where eight cells stand; the localizer is not told.
BS = np.transpose([[-400, 380, 20, -90, 200, -300, 0, 150], [-300, -60, 400, 90, 300, 200, -350, -150]]).astype(float)


def campaign(n=400, noise=2.0, seed=0):
    """UEs on 700 m x 700 m, levels of eight cells without a position."""
    rng = np.random.default_rng(seed)
    ue = rng.uniform(-350, 350, (n, 2))
    level = path_loss(ue, BS) + rng.normal(0, noise, (n, len(BS)))
    links = make_links(ue, BS, np.where(level > np.quantile(level, 0.15), level, np.nan))
    nowhere = ("bs", np.full(len(BS), np.nan), links["bs_x"].attrs)
    return ue, level, links, links.assign_coords(bs_x=nowhere, bs_y=nowhere)


def ground_of(ue):
    points = np.stack(np.meshgrid(LATTICE.x, LATTICE.y), -1).reshape(-1, 2)
    here, there = ({"one": np.ones((n, len(BS)))} for n in (len(ue), len(points)))
    return Ground(LATTICE, ue, here, there, cdist(points, ue).astype(np.float32))


@pytest.fixture(scope="module")
def kriged():
    ue, level, links, cells = campaign()
    train = np.arange(len(ue)) % 4 > 0
    train &= ~((np.abs(ue - [200.0, 200.0]) < 120).all(axis=1))  # a block that nobody measured
    return ue, level, links, cells, train, CellFields.fit(cells, train, ground_of(ue))


def test_fields_are_sure_where_measured_and_say_so(kriged):
    ue, level, _, cells, train, fields = kriged
    heard = cells["heard"].values[:, fields.cells]
    both = fields.mean[0], fields.sd[0]
    at = np.array([[np.squeeze(fields.at(of, *here[:, None]), (1, 2)) for here in ue] for of in both])
    z = np.where(heard, (level[:, fields.cells] - at[0]) / at[1], np.nan)
    gap = np.abs(ue - [200.0, 200.0]).max(axis=1)
    beside, away = ~train & (gap >= 120), gap < 100
    assert np.sqrt(np.nanmean((z[beside] * at[1][beside]) ** 2)) < 3.5  # noise has 2 dB
    assert at[1][away].mean() > 1.1 * at[1][beside].mean()
    for those in (beside, away):
        assert 0.5 < np.sqrt(np.nanmean(z[those] ** 2)) < 1.6
    assert np.linalg.eigvalsh(fields.correlation).min() > 0
    np.testing.assert_allclose(np.diag(fields.correlation), 1)
    with pytest.raises(DataError, match="10 training UEs"):
        CellFields.fit(cells, np.arange(len(ue)) < 5, ground_of(ue))


def test_interpolation_is_bilinear_and_stays_on_the_edge(kriged):
    fields = kriged[-1]
    plane = (2 * LATTICE.x + 3 * LATTICE.y[:, None])[None].astype(np.float32)
    x, y = np.array([-487.5, -481.0, 13.0]), np.array([77.0, 487.5])
    np.testing.assert_allclose(fields.at(plane, x, y)[0], 2 * x + 3 * y[:, None], atol=1e-3)
    assert fields.at(plane, np.array([900.0]), np.array([0.0])) == fields.at(plane, LATTICE.x[-1:], np.array([0.0]))


def test_ues_are_found_from_cells_of_unknown_position(kriged):
    ue, _, links, cells, train, fields = kriged
    batcher = CropBatcher(links, open_raster(1400), crop_params())
    centre = ue - np.random.default_rng(1).uniform(-200, 200, ue.shape)
    test = np.flatnonzero(~train)
    batch = batcher.batch(test, *centre[test].T)
    posterior = KrigedPosterior(fields, cells, crop_params(), KrigedOptions()).posterior(batch)
    np.testing.assert_allclose(posterior.sum(axis=(1, 2)), 1)
    error = np.hypot(*(geometric_median(posterior, 560.0) - batch.target_xy).T)
    assert error.mean() < 0.35 * np.hypot(*batch.target_xy.T).mean()
    # in the square only stations with a position count, and none has one: the prior is left
    square = KrigedPosterior(fields, cells, crop_params(), KrigedOptions(), within="square").posterior(batch)
    np.testing.assert_allclose(square, street_prior(batch, crop_params()), atol=1e-6)
    near = KrigedPosterior(fields, cells, crop_params(), KrigedOptions(measured=1.0), within="square").posterior(batch)
    assert (near.max(axis=(1, 2)) > 2 * square.max(axis=(1, 2))).all()


def posterior_of(kriged, **options):
    """Posterior of a few test UEs, on crops round them, with these options, and the batch."""
    ue, _, links, cells, train, fields = kriged
    test = np.flatnonzero(~train)[:12]
    centre = ue[test] - np.random.default_rng(2).uniform(-150, 150, (len(test), 2))
    batch = CropBatcher(links, open_raster(1400), crop_params()).batch(test, *centre.T)
    return KrigedPosterior(fields, cells, crop_params(), KrigedOptions(**options)).posterior(batch), batch


def test_off_the_streets_nothing_is_ruled_out(kriged):
    ue, _, links, cells, train, fields = kriged
    raster = open_raster(1400)
    raster["road"].values[:, :700] = 0  # no street in the west
    test = np.flatnonzero(~train & (ue[:, 0] < -60))[:8]
    batch = CropBatcher(links, raster, crop_params()).batch(test, *(ue[test] + np.array([120.0, 0.0])).T)
    there = np.arange(len(test)), batch.target
    for share, low in ((0.0, False), (0.3, True)):
        options = KrigedOptions(off_street=share)
        posterior = KrigedPosterior(fields, cells, crop_params(), options).posterior(batch)
        assert ((posterior.reshape(len(test), -1)[there] > 0) == low).all()


def test_what_is_mixed_in_is_the_prior_and_a_common_scale_makes_a_surprised_posterior_less_sure(kriged):
    cells, fields = kriged[3], kriged[-1]
    normal, batch = posterior_of(kriged)
    mixed, _ = posterior_of(kriged, lapse=0.2)
    np.testing.assert_allclose(mixed, 0.8 * normal + 0.2 * street_prior(batch, crop_params()), atol=1e-9)
    almost, _ = posterior_of(kriged, freedom=1e7)
    np.testing.assert_allclose(almost, normal, atol=1e-3)
    off = cells.copy(deep=True)
    off["nrsrp"] = off["nrsrp"] + np.where(np.arange(len(BS)) % 2, 12.0, -12.0).astype(np.float32)
    entropy = {}
    for name, options in {"normal": KrigedOptions(), "heavy": KrigedOptions(freedom=4.0)}.items():
        found = KrigedPosterior(fields, off, crop_params(), options).posterior(batch)
        entropy[name] = -(found * np.log(np.maximum(found, 1e-300))).sum(axis=(1, 2)).mean()
    assert entropy["heavy"] > entropy["normal"] + 0.3
