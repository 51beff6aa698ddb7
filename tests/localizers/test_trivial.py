import numpy as np
import pytest

from rfloc.crops import CropBatcher, cell_centres
from rfloc.evaluation.score import geometric_median
from rfloc.evaluation.tables import TRIVIAL
from rfloc.localizers import KNearest
from rfloc.localizers.base import Estimator, jitter_prior
from rfloc.localizers.trivial import Centre, Centroid, StreetMedian, Strongest, trivial_rows
from tests.handmade import crop_params, make_links, make_raster, make_split, open_raster, path_loss, scattered
from tests.localizers import test_posterior


def _batch(bs, level, params, raster=None, **features):
    links = make_links(np.zeros((1, 2)), np.array(bs, float), np.array([level], float), **features)
    return CropBatcher(links, open_raster() if raster is None else raster, params).batch([0], [0.0], [0.0])


def test_jitter_prior_counts_partial_cells():
    prior = jitter_prior(crop_params(output=4, jitter=0.75))
    np.testing.assert_allclose(prior.sum(axis=0), np.array([0.5, 1, 1, 0.5]) / 3)
    assert jitter_prior(crop_params(output=3, jitter=0.0))[1, 1] == pytest.approx(1)


def test_street_median_rests_on_the_only_street():
    road = np.zeros((1000, 1000))
    road[600:620, :] = 1  # y 100..120
    params = crop_params()
    localizer = StreetMedian(params)
    assert not isinstance(localizer, Estimator)
    posterior = localizer.posterior(_batch([[10, 20]], [-80], params, make_raster(road * 0, road)))
    np.testing.assert_allclose(posterior.sum(), 1)
    np.testing.assert_allclose(geometric_median(posterior, 560), [[0, 110]], atol=0.1)
    bare = localizer.posterior(_batch([[10, 20]], [-80], params, make_raster(np.ones((1000, 1000)))))
    np.testing.assert_allclose(bare[0], jitter_prior(params))


def test_centroid_weights_are_amplitudes_of_nrsrp_whatever_rssi_says():
    params = crop_params()
    for rssi in ([[-50.0, -70.0]], [[np.nan, np.nan]]):
        batch = _batch([[100, 0], [-200, 30]], [-100, -80], params, rssi=np.array(rssi))  # 20 dB apart: 1 to 10
        np.testing.assert_allclose(Centroid(params).estimate(batch), [[(100 - 2000) / 11, 300 / 11]], atol=1e-4)
        np.testing.assert_allclose(Centroid(params, share=0.5).estimate(batch), [[-1900 / 22, 150 / 11]], atol=1e-4)
        np.testing.assert_allclose(Strongest(params).estimate(batch), [[-200, 30]])
    for localizer in (Centroid, Strongest):  # without stations the answer is the centre
        np.testing.assert_array_equal(localizer(params).estimate(_batch([[100, 0]], [np.nan], params)), [[0, 0]])


def test_the_mix_is_fitted_on_training_ues_alone():
    links, _ = scattered(80)
    params, role = crop_params(), np.where(np.arange(80) < 50, "train", "known")
    batcher = CropBatcher(links, open_raster(), params)
    rows = trivial_rows(batcher, make_split(links, role), seed=3)
    assert tuple(rows) == TRIVIAL and all(name == row.name for name, row in rows.items())
    assert 0.0 < rows["centroid_mix"].share < 1.0
    moved = links.assign_coords(ue_x=links["ue_x"] + 90.0 * (role == "known"))
    again = trivial_rows(CropBatcher(moved, open_raster(), params), make_split(moved, role), seed=3)
    assert again["centroid_mix"] == rows["centroid_mix"]
    crop = batcher.batch(np.arange(50), *(batcher.ue_xy[:50] - np.random.default_rng(1).uniform(-250, 250, (50, 2))).T)
    mixed, centre = (rows[name].estimate(crop) - crop.target_xy for name in ("centroid_mix", "centre"))
    assert np.hypot(*mixed.T).mean() < np.hypot(*centre.T).mean()


def test_centroid_posterior_is_a_gaussian_around_it():
    params = crop_params(output=56)
    posterior = Centroid(params).posterior(_batch([[40, -20]], [-80], params))[0]
    x, y = cell_centres(560, 56)
    want = np.exp(-((x - 40) ** 2 + (y + 20) ** 2) / 2 / 168**2)
    np.testing.assert_allclose(posterior, want / want.sum(), rtol=1e-6)


def neighbours(links, params):
    return KNearest(links.isel(ue=slice(0, 6)), links, params, k=3, within="square")


def on_maps(_links, params):
    return test_posterior._localizer(test_posterior._maps(), size=params.size)


@pytest.mark.parametrize("made", [Centre, Centroid, StreetMedian, Strongest, neighbours, on_maps])
def test_crops_of_many_sizes_are_answered_as_alone(made):
    ue, size = np.random.default_rng(1).uniform(-200, 200, (8, 2)), np.linspace(1200, 200, 8)
    links = make_links(ue, test_posterior.BS, path_loss(ue, test_posterior.BS))
    raster = make_raster(np.random.default_rng(0).random((1000, 1000)) < 0.4)

    def asked(params):
        return made(links, params) if made in (neighbours, on_maps) else made(params)

    params = crop_params(output=56)
    batch = CropBatcher(links, raster, params).batch(np.arange(8), *(ue.T + 20), size=size)
    posterior = asked(params).posterior(batch)
    for b, edge in enumerate(size):
        alone = crop_params(output=56, size=edge)
        at = CropBatcher(links, raster, alone).batch(b, *batch.centre[b])
        np.testing.assert_allclose(posterior[b], asked(alone).posterior(at)[0], atol=1e-12)
