"""A pose that is known is found again."""

import numpy as np
import pytest

from rfloc.calibration import site as site_module
from rfloc.calibration.candidates import AntennaTable, Site, cloud_of, orientations
from rfloc.calibration.paper import paper_search, rank_agreement
from rfloc.calibration.reports import reports_of
from rfloc.calibration.site import azimuth_posterior, search_site
from rfloc.calibration.surrogate import surrogate
from rfloc.frames import wrap_degrees
from rfloc.simulation.maps import sector_gain_db
from tests.calibration.analytic import CITY, PARAMS, RADIO, free_space_db, measured, table


def site_of(truth, nominal, **options) -> tuple[Site, np.ndarray, np.ndarray]:
    links = measured(truth, nominal, **options)
    everyone = np.ones(links.sizes["ue"], bool)
    x, y = links.ue_x.values, links.ue_y.values
    return Site(nominal, reports_of(links, everyone, RADIO, 0), x, y, RADIO, PARAMS), x, y


def test_position_height_and_azimuth_are_found() -> None:
    nominal = table(azimuth=10.0)
    truth = table(azimuth=130.0).moved(22.0, -14.0).replace(h=[30.0], power=[46.0])
    site, x, y = site_of(truth, nominal)
    fit = search_site(site, CITY, lambda pose: free_space_db(pose, x, y), seed=1)
    pose, (weights, mean, sd) = fit.pose, fit.posterior()
    assert len(fit.traced) == len(set(fit.traced)) == len(fit.history) == PARAMS.traces
    assert np.hypot(pose[0] - 22.0, pose[1] + 14.0) < 10.0
    assert abs(pose[2] - 30.0) < 2.0 * sd[2] + 5.0  # free space says little about height
    solved, tried = fit.solved()[0], site.fine[0]
    turn = azimuth_posterior(solved, tried)
    assert abs(wrap_degrees(turn.azimuth - 130.0)) <= 5.0
    assert turn.azimuth == tried.azimuth[turn.best] == turn.azimuths[turn.weights.argmax()]
    assert solved.offset_db[turn.best] == pytest.approx(3.0, abs=1.0)
    assert (turn.weights.sum(), weights.sum()) == pytest.approx((1.0, 1.0))
    assert np.hypot(mean[0] - 22.0, mean[1] + 14.0) < 15.0
    assert 0.5 < sd[0] < 25.0
    assert (fit.traced[0], *fit.cloud[0, :2]) == (0, 0.0, 0.0)  # the nominal pose is among them


def test_sectors_share_their_mast() -> None:
    nominal = table(azimuth=0.0, n=2)
    truth = nominal.moved(-20.0, 15.0).replace(azimuth=[60.0, 240.0])
    site, x, y = site_of(truth, nominal)
    fit = search_site(site, CITY, lambda pose: free_space_db(pose, x, y), seed=1)
    assert np.hypot(fit.pose[0] + 20.0, fit.pose[1] - 15.0) < 10.0
    found = [azimuth_posterior(s, a).azimuth for s, a in zip(fit.solved(), site.fine, strict=True)]
    assert np.abs(wrap_degrees(np.array(found) - [60.0, 240.0])).max() <= 5.0


def test_the_calibrated_pose_is_the_mean_unless_that_lies_between_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    site, x, y = site_of(table(azimuth=130.0).moved(22.0, -14.0), table(azimuth=130.0))
    site.position_sd = 8.0

    def search():
        again = Site(site.nominal, site.reports, x, y, RADIO, PARAMS, site.position_sd)
        return search_site(again, CITY, lambda pose: free_space_db(pose, x, y), seed=1)

    fit = search()
    assert fit.chosen == fit.traced[-1]
    _, mean, sd = fit.posterior()
    assert np.hypot(*(fit.pose - mean)[:2]) < 0.5 * sd[0]
    monkeypatch.setattr(site_module, "BETWEEN_MODES", -1e-9)  # it always does
    other = search()
    assert other.traced == fit.traced and other.chosen != fit.chosen
    assert other.stated_evidence[other.traced.index(other.chosen)] > fit.stated_evidence.max() - 0.5

    monkeypatch.undo()
    monkeypatch.setattr(site_module, "STATED", 1e-6)  # nothing is believed of what was measured: nobody moves
    assert np.hypot(*search().pose[:2]) < 4.0 < 8.0 < np.hypot(*fit.pose[:2])


def test_orientations_have_a_prior_that_sums_to_one() -> None:
    known, unknown = orientations(RADIO, 30.0, 45.0), orientations(RADIO, 30.0, np.nan)
    for tried in (known, unknown):
        assert np.exp(tried.log_prior).sum() == pytest.approx(1.0)
    omni = np.isnan(unknown.azimuth)
    assert np.exp(unknown.log_prior[omni]).sum() == pytest.approx(0.5)
    assert not np.isnan(known.azimuth).any()
    assert len(orientations(RADIO.model_copy(update={"pattern": "isotropic"}), 30.0, 45.0).azimuth) == 1


def test_the_table_of_directions_is_the_sector() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-300, 300, (2, 50))
    tried = orientations(RADIO, 30.0, np.nan)
    pose = table().moved(5.0, 8.0)
    found = AntennaTable(RADIO).gain_db(tried, pose, x, y)
    for k in range(0, len(tried.azimuth), 7):
        radio = RADIO.model_copy(update={"downtilt": float(tried.tilt[k])})
        exact = sector_gain_db(pose.replace(azimuth=[tried.azimuth[k]]), x, y, radio)[0]
        assert found[k] == pytest.approx(exact, abs=0.35)


def test_the_cloud_fills_its_box() -> None:
    cloud = cloud_of((0.0, 0.0, 33.0), PARAMS.radius, PARAMS.height, 100, seed=0)
    assert (cloud.shape, cloud[0].tolist()) == ((100, 3), [0.0, 0.0, 33.0])
    assert np.abs(cloud[:, :2]).max() <= PARAMS.radius
    assert PARAMS.height[0] <= cloud[:, 2].min() <= cloud[:, 2].max() <= PARAMS.height[1]
    assert np.histogram2d(*cloud[:, :2].T, bins=3)[0].min() >= 5


def test_the_direct_line_of_a_flat_city_is_free_space() -> None:
    site, x, y = site_of(table(), table())
    poses = np.array([[0.0, 0.0, 35.0], [3.0, 0.0, 30.0]])
    for found, pose in zip(site.direct_line_db(CITY, poses), poses, strict=True):
        assert found == pytest.approx(free_space_db(site.at(pose), x, y), abs=0.01)


def test_a_surrogate_passes_through_what_was_traced_and_is_unsure_elsewhere() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 50, (60, 3))
    truth = -0.005 * (points[:, 0] ** 2 + points[:, 1] ** 2)
    traced = np.arange(25)
    model = surrogate(points, np.zeros(60), traced, truth[traced], seed=0)
    assert np.corrcoef(model.mean[25:], truth[25:])[0, 1] > 0.9
    assert model.sd[25:].mean() > model.sd[:25].mean()
    assert model.weights(points).sum() == pytest.approx(1.0)
    assert model.expected_improvement(float(truth.max())).min() >= 0.0


def test_the_papers_search_improves_the_rank_correlation() -> None:
    nominal = table(azimuth=300.0)
    links = measured(table(azimuth=130.0).moved(22.0, -14.0), nominal)
    x, y, rssi = links.ue_x.values, links.ue_y.values, links.rssi.values[:, 0].astype(float)
    fit = paper_search(nominal, rssi, x, y, lambda pose: free_space_db(pose, x, y), RADIO, 20, seed=0)
    start, best = (rank_agreement(free_space_db(pose, x, y), pose, rssi, x, y, RADIO) for pose in (nominal, fit.pose))
    assert len(fit.spearman) == len(fit.seconds) == 20
    assert best == pytest.approx(fit.spearman.max()) and best > start
    assert max(abs(fit.pose.x[0]), abs(fit.pose.y[0])) <= 50.0
    assert 20.0 <= fit.pose.h[0] <= 100.0
    assert 0.0 < fit.tracing < fit.seconds[-1]


def test_equal_levels_rank_nothing() -> None:
    isotropic = RADIO.model_copy(update={"pattern": "isotropic"})
    rssi, x = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    assert rank_agreement(np.full(3, -90.0), table(), rssi, x, x, isotropic) == 0.0
