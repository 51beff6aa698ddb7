from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.pairwise import haversine_distances
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsRegressor

from rfloc.config import BaselineParams
from rfloc.crops import CropBatcher, CropPlacer
from rfloc.errors import DataError, SchemaError
from rfloc.evaluation.score import geometric_median
from rfloc.files import load_json
from rfloc.localizers.base import jitter_prior
from rfloc.localizers.knn import KNearest, fingerprinting
from tests.handmade import FRAME, crop_params, make_links, make_split, open_raster, scattered

FEATURES_4 = ("rssi", "nsinr", "nrsrp", "nrsrq")


@pytest.fixture
def city():
    links, _ = scattered(120)
    return links, links.isel(ue=slice(0, 90)), np.arange(90, 120)


def _batch(links, ue, shift=(0.0, 0.0)):
    batcher = CropBatcher(links, open_raster(), crop_params())
    return batcher.batch(ue, batcher.ue_xy[ue, 0] - shift[0], batcher.ue_xy[ue, 1] - shift[1])


@pytest.mark.parametrize("k", [1, 3])
def test_plain_rows_equal_scikit_learn_with_links_that_are_missing(city, k):
    links, train, test = city
    split = make_split(links, np.where(np.arange(120) < 90, "train", "known"))
    plain = fingerprinting(links, split, crop_params(), BaselineParams(k=k, fill_db=-25.0))["knn_plain"]
    batch, weakest = _batch(links, test, (30.0, -80.0)), float(train.nrsrp.min())
    reference = KNeighborsRegressor(k, weights="distance")
    reference.fit(np.nan_to_num(train.nrsrp.values, nan=weakest), np.stack([train.ue_x, train.ue_y], axis=1))
    want = reference.predict(np.nan_to_num(links.nrsrp.values[test], nan=weakest))
    np.testing.assert_allclose(plain.estimate(batch) + batch.centre, want, rtol=1e-6)


@pytest.mark.parametrize("features", [("rssi",), ("nrsrp", "nsinr"), FEATURES_4], ids=len)
def test_features_equal_scikit_learn_on_scaled_ones(city, features):
    links, train, test = city
    batch = _batch(links, test, (30.0, -80.0))
    ours = KNearest(train, links, crop_params(), k=4, features=features, per_station=False).estimate(batch)
    weakest, spread = ({f: getattr(np, do)(train[f].values) for f in features} for do in ("nanmin", "nanstd"))

    def scaled(ds):
        return np.hstack([np.where(np.isnan(ds[f]), weakest[f], ds[f]) / (spread[f] or 1) for f in features])

    at, sought = scaled(train), scaled(links.isel(ue=test))
    reference = KNeighborsRegressor(4, weights="distance").fit(at, np.stack([train.ue_x, train.ue_y], axis=1))
    np.testing.assert_allclose(ours + batch.centre, reference.predict(sought), atol=1e-3)


@pytest.fixture(scope="module")
def published(rome_data):
    """The published Rome crop as released: rows, and each published position's site as corrected by hand."""
    rows = pd.read_csv(rome_data / "rome/rome_crop_knn_ready.csv").dropna(subset=["RSSI"])
    sites = load_json(Path(__file__).parents[2] / "conf/sites/rome.json")["sites"]
    table = {tuple(site["published"]): tuple(site["corrected"]) for site in sites}
    at = [tuple(place) for place in rows[["BSLatitude", "BSLongitude"]].round(6).to_numpy().tolist()]
    return rows.assign(position=at, site=[table[place] for place in at])


def crop_links(rows, stations):
    """Links of the crop's UEs, in the order in which they appear, with stations by a column; the last row counts."""
    order = list(dict.fromkeys(rows["UE_location"]))
    names = sorted(set(rows[stations]))
    last = rows.drop_duplicates(["UE_location", stations], keep="last")
    levels = last.pivot(index="UE_location", columns=stations, values=["RSSI", "NSINR", "NRSRP", "NRSRQ"]).loc[order]
    places = rows.drop_duplicates("UE_location").set_index("UE_location").loc[order, ["UELatitude", "UELongitude"]]
    level = {name.lower(): levels[name][names].to_numpy() for name in ("RSSI", "NSINR", "NRSRP", "NRSRQ")}
    at, bs = (np.stack(FRAME.to_local(*np.transpose(v)), axis=1) for v in (places.to_numpy(), names))
    return make_links(at, bs, level.pop("nrsrp"), **level), places.to_numpy()


def test_the_earlier_studys_procedure_on_the_rome_crop(published):
    """As its code has it: six merged sites, RSSI, -90 dBm for missing, k = 10, a random tenth held out, haversine.

    Its paper's own numbers are not at hand; scikit-learn on its arrays is what ours is held against.
    """
    links, degrees = crop_links(published, "site")
    assert dict(links.sizes) == {"ue": 1664, "bs": 6}
    train, test = train_test_split(np.arange(1664), test_size=0.1, random_state=1)
    level = np.nan_to_num(links.rssi.values, nan=-90.0)
    reference = KNeighborsRegressor(10, weights="distance").fit(level[train], degrees[train]).predict(level[test])
    gap = haversine_distances(np.radians(reference), np.radians(degrees[test])).diagonal() * 6_371_000
    assert len(test) == 167 and gap.mean() == pytest.approx(118.3, abs=0.1)
    knn = KNearest(links.isel(ue=train), links, crop_params(), k=10, fill_db=-90.0, per_station=False)
    ours = knn.estimate_at(test, np.zeros((167, 2)))
    np.testing.assert_allclose(ours, np.stack(FRAME.to_local(*reference.T), axis=1), atol=0.1)


def test_the_trials_numbers_on_the_rome_crop(published):
    """A random tenth held out, in the square: 86 m by RSSI with -25 dB, 37 m by four features, on eleven cells."""
    links, _ = crop_links(published, "position")
    params, errors = crop_params(size=600.0, min_heard=3), {"rssi": [], "four": []}
    placer = CropPlacer(links, params)
    for draw in range(5):
        rng = np.random.default_rng(draw)
        train, test = train_test_split(np.arange(1664), test_size=0.1, random_state=draw)
        x, y, size, found = placer.eligible(test, rng)
        centre, test = np.stack([x, y], axis=1)[found], test[found]
        for name, how in {"rssi": {"fill_db": -25.0}, "four": {"features": FEATURES_4}}.items():
            knn = KNearest(links.isel(ue=train), links, params, k=5, within="square", **how)
            at = knn.estimate_at(test, centre, size[found]) + centre
            errors[name].append(np.hypot(*(at - placer.ue_xy[test]).T).mean())
    assert np.mean(errors["rssi"]) == pytest.approx(86, abs=8)
    assert np.mean(errors["four"]) == pytest.approx(36.8, abs=6)


def test_distance_is_divided_by_stations_that_both_hear():
    bs, at = np.array([[0.0, 50.0], [50.0, 0.0], [-50.0, 0.0]]), np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    level = np.array([[-80, -80, -95], [-70, np.nan, np.nan], [-80, -85, np.nan]])
    links = make_links(at, bs, level, rssi=level)
    knn = KNearest(links.isel(ue=[0, 1]), links, crop_params(), k=2, fill_db=-100.0)
    batch = _batch(links, [2])
    got = 1 / knn.neighbours(batch.ue, batch.centre, batch.size)[0][0]
    want = np.array([np.sqrt(50) / 2, np.sqrt(325)])  # two stations in common, and one
    np.testing.assert_allclose(got / got[0], want / want[0])


def test_square_uses_only_what_lies_inside_and_without_fingerprints_answers_the_centre():
    bs, at = np.array([[0.0, 50.0], [600.0, 0.0]]), np.array([[0.0, 0.0], [100.0, 0.0], [700.0, 0.0]])
    level = np.array([[-80.0, -60.0], [-70.0, -90.0], [-79.0, -60.0]])
    links = make_links(at, bs, level, rssi=level)
    train, batch = links.isel(ue=[1, 2]), _batch(links, [0])
    city = KNearest(train, links, crop_params(), k=1)
    square = KNearest(train, links, crop_params(), k=1, within="square")
    np.testing.assert_allclose(city.estimate(batch), [[700, 0]])  # may leave the crop
    np.testing.assert_allclose(square.estimate(batch), [[100, 0]])
    edge = city.posterior(batch)[0]
    np.testing.assert_allclose(edge.sum(), 1)
    assert edge[:, -1].sum() > 0.9
    np.testing.assert_allclose(geometric_median(square.posterior(batch), 560), [[100, 0]], atol=1)
    batch = _batch(links, [0], (60.0, 60.0))
    alone = KNearest(links.isel(ue=[2]), links, crop_params(), k=3, within="square")
    np.testing.assert_array_equal(alone.estimate(batch), 0)
    np.testing.assert_allclose(alone.posterior(batch)[0], jitter_prior(crop_params()))


@pytest.mark.parametrize(("beyond", "answer"), [(False, 100.0), (True, -100.0)])
def test_stations_beyond_the_square_are_compared_where_asked(beyond, answer):
    bs, at = np.array([[0.0, 50.0], [600.0, 0.0]]), np.array([[0.0, 0.0], [100.0, 0.0], [-100.0, 0.0]])
    links = make_links(at, bs, np.array([[-80.0, -60.0], [-79.0, -90.0], [-77.0, -61.0]]))
    square = KNearest(links.isel(ue=[1, 2]), links, crop_params(), k=1, within="square", beyond=beyond)
    np.testing.assert_allclose(square.estimate(_batch(links, [0])), [[answer, 0]])


def test_refusals(city):
    links, train, _ = city
    with pytest.raises(SchemaError, match="different stations"):
        KNearest(train.isel(bs=slice(1, None)), links, crop_params(), k=3)
    blind = train.assign(nsinr=train.nsinr * np.nan)
    with pytest.raises(DataError, match="no fingerprint holds nsinr"):
        KNearest(blind, links, crop_params(), k=3, features=("rssi", "nsinr"))
    with pytest.raises(DataError, match="no fingerprint holds"):
        KNearest(train.isel(ue=[]), links, crop_params(), k=3)


def test_tables_rows_differ_in_where_and_what_they_compare(city):
    links, train, test = city
    split = make_split(links, np.where(np.arange(120) < 90, "train", "known"))
    rows = fingerprinting(links, split, crop_params(), BaselineParams(k=3, fill_db=-30.0))
    assert [(name, row.name, row.within) for name, row in rows.items()] == [
        ("knn", "knn", "city"), ("knn_filled", "knn_filled", "city"), ("knn_plain", "knn_plain", "city"),
        ("knn_square", "knn_square", "square"), ("knn_square_plain", "knn_square_plain", "square"),
        ("knn_square_4", "knn_square_4", "square"),
    ]  # fmt: skip
    batch = _batch(links, test)
    for name, fill in (("knn", -30.0), ("knn_filled", float(train.rssi.min()))):
        by_hand = KNearest(train, links, crop_params(), k=3, fill_db=fill)
        np.testing.assert_array_equal(rows[name].estimate(batch), by_hand.estimate_at(test, batch.centre))
    silent = links.assign(rssi=links["rssi"] * np.nan)
    rows = fingerprinting(silent, split, crop_params(), BaselineParams(k=3, fill_db=-150.0))
    level = KNearest(silent.isel(ue=slice(0, 90)), silent, crop_params(), k=3, fill_db=-150.0, features=("nrsrp",))
    np.testing.assert_array_equal(rows["knn"].estimate(batch), level.estimate(batch))
