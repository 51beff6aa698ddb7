"""What UEs reported, as one number a link."""

import numpy as np
import pytest

from rfloc.calibration.reports import MOST, SQUARE, missed_share, reported_level, reports_of, sites_of
from rfloc.config import RadioParams
from rfloc.datasets.radio import features
from rfloc.stations import Stations
from tests.calibration.analytic import RADIO, links_of, measured, table


def test_a_links_features_hold_its_level_twice() -> None:
    rng = np.random.default_rng(0)
    radio = RadioParams(load=0.3, sensitivity_dbm=-200.0, detection_db=-300.0)
    gain = 10 ** rng.uniform(-12, -8, (30, 4))
    values = features(gain, np.full(4, 43.0), radio)
    x, y = rng.uniform(-100, 100, (2, 30))
    noisy, no_rssi = {"nrsrp": values["nrsrp"] + 2.0}, {"rssi": np.full((30, 4), np.nan)}
    for changed, off in (({}, 0.0), (noisy, 1.0), (no_rssi, 0.0)):
        level = reported_level(links_of(values | changed, x, y), radio)
        assert level == pytest.approx(values["nrsrp"] + off, abs=1e-4)


def test_reports_are_thinned_and_silence_is_counted_once_a_square() -> None:
    links = measured(table(), table(), n=MOST + 200)
    links["nrsrp"][:150] = np.nan
    links["rssi"][:150] = np.nan
    (found,) = reports_of(links, np.ones(links.sizes["ue"], bool), RADIO, 0)
    assert found.n == MOST
    quiet = np.column_stack([links.ue_x.values, links.ue_y.values])[found.quiet_ue]
    squares = np.floor(quiet / SQUARE)
    assert len(np.unique(squares, axis=0)) == len(squares) == len(found.threshold_db)
    assert found.quiet_ue.max() < 150 <= found.ue.min()


def test_a_full_report_hides_what_is_weaker_than_its_weakest() -> None:
    nrsrp = np.array([[-80.0, -90.0, np.nan]] * 30 + [[-80.0, np.nan, np.nan]] * 30)
    values = {name: nrsrp for name in ("nrsrp", "rssi", "nsinr", "nrsrq")} | {"nsinr": np.where(nrsrp < 0, 20.0, nrsrp)}
    x, y = np.random.default_rng(0).uniform(-400, 400, (2, 60))
    links = links_of(values, x, y)
    third = reports_of(links, np.ones(60, bool), RADIO, 0)[2]
    power = 43.0 - 10 * np.log10(12 * RADIO.resource_blocks)
    full = third.quiet_ue < 30
    assert full.any()
    assert (third.threshold_db[full] > -110.0 - power).all()  # near the weakest of two reports, not the sensitivity
    assert third.threshold_db[~full] == pytest.approx(-200.0 - power)


def test_missed_share_of_strong_stations() -> None:
    x = np.repeat(np.arange(25) * 100.0, 4)
    measured_level = np.tile([-60.0, -60.0, np.nan, np.nan], 25)
    share = missed_share(x, np.zeros(100), measured_level, np.full(100, -100.0))
    assert share == pytest.approx(51 / 110)
    assert missed_share(x, np.zeros(100), np.full(100, np.nan), np.full(100, -100.0)) == 0.1


def test_sectors_of_a_mast_are_one_site() -> None:
    x = np.array([0.0, 50.0, 0.3, 50.0])
    stations = Stations(x, np.zeros(4), np.full(4, 30.0), np.zeros(4), np.full(4, 43.0), np.array(list("abcd")))
    assert [site.tolist() for site in sites_of(stations)] == [[0, 2], [1, 3]]
