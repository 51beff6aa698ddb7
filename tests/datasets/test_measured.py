"""Campaigns end to end: the published counts on the real files, every row accounted for, cities and subsets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.io import savemat

from rfloc import config
from rfloc.city import City, build_city
from rfloc.cli import compose
from rfloc.config import CampaignParams, RadioParams
from rfloc.crops import evaluation_crops
from rfloc.datasets.measured import read_campaign
from rfloc.datasets.positions import estimate_positions
from rfloc.errors import ConfigError, DataError
from rfloc.schema import FEATURES
from rfloc.splits import make_split
from tests.datasets.files import CROP, FRAME, MAT, TABLE, cell_array, cell_table, city, matrices, write_crop, write_mat
from tests.toy import city_params

RADIO = RadioParams()


def nbiot(**changes: Any) -> CampaignParams:
    own: dict[str, Any] = {"kind": "nbiot", "cities": ["home"], "mat": MAT, "published": CROP, "manifest": None}
    return CampaignParams(**own | changes)


def read(root: Path, params: CampaignParams, where: City | None = None, project: Path = Path("nowhere")):
    links, report = read_campaign(params, RADIO, root, project, where or city())
    assert report["rows"] == sum(report["rejected"].values()) + report["rows_kept"]
    assert report["rows_kept"] == report["links"] + report["rows_averaged_away"] == int(links["heard"].sum())
    return links, report


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_crop(write_mat(tmp_path))


def test_published_positions_reach_all_rows_of_their_cells_and_those_without_stay_where_all_are_wanted(root):
    every, _ = read(root, nbiot(positions="all"))
    assert every["bs_position_source"].values.tolist() == ["published"] * 3 + ["unknown"]
    assert np.isnan(every["bs_x"].values).tolist() == [False] * 3 + [True]
    marked, report = read(root, nbiot(positions="all", interpolated=True))
    assert marked["interpolated"].sum("ue").values.tolist() == [0, 0, 0, 0, 8]
    assert (report["links"], report["links_interpolated"]) == (40, 8)
    assert marked.sel(bs=slice(0, 4)).drop_vars("interpolated")["nrsrp"].equals(every["nrsrp"])
    crop = pd.read_csv(root / CROP)
    crop.iloc[6:].to_csv(root / CROP, index=False)  # two of eight locations are not in the crop
    links, report = read(root, nbiot())
    assert links.sizes == {"ue": 8, "bs": 3} and bool(links["heard"].all())
    assert links["bs_id"].values.tolist() == ["1-300064-33", "1-300064-34", "1-300064-35"]
    assert np.isnan(links["bs_azimuth"]).all() and (links["bs_h"] == 40.0).all()
    assert sorted(links["ue_campaign"].values.tolist()) == [1] * 4 + [2] * 4
    assert report["rejected"]["cell without a known position"] == 8 and report["position_sources"] == {"published": 3}
    assert report["published"]["rows"] == 18 and report["links"] == 24
    assert np.sort(links["nrsrp"].values.ravel()) == pytest.approx(np.sort(crop["NRSRP"]), abs=1e-4)
    assert set(report["files"]) == {MAT, CROP}


def test_the_layout_of_oslo_with_its_cell_table(tmp_path):
    root = write_mat(tmp_path, interpolated=False)
    cell_table("eNodeID").to_excel(root / TABLE, index=False)
    links, report = read(root, nbiot(published=None, cell_table=TABLE))
    assert links.sizes == {"ue": 8, "bs": 3} and report["position_sources"] == {"table": 3}
    assert links["bs_position_error"].values == pytest.approx([35.355] * 3, abs=1e-3)
    cell_table("eNodeID").iloc[1:].to_excel(write_crop(root) / TABLE, index=False)
    assert read(root, nbiot(cell_table=TABLE))[1]["position_sources"] == {"table": 2, "published": 1}
    x, y = FRAME.to_local(41.8712, 12.4643)
    assert [links["bs_x"].values[0], links["bs_y"].values[0]] == pytest.approx([float(x), float(y)], abs=0.01)


def test_oslo_is_an_ordinary_campaign_with_the_positions_of_its_own_file(oslo_data, project_root, tmp_path):
    mat = "oslo/Oslo_NBIoT_data.mat"
    radio = config.read(compose(project_root, ["scale=rome"], tmp_path / "params.yaml")).radio
    params, split = nbiot(mat=mat, published=mat, manifest="oslo"), "conf/splits/oslo_paper.yaml"
    oslo = build_city("oslo", city_params("oslo_unmapped"), oslo_data, tmp_path / "oslo")
    links, report = read_campaign(params, radio, oslo_data, project_root, oslo)
    rejected = report["rejected"]
    assert report["rows"] == 59_740 and report["rows"] - rejected["eNodeB not decoded"] == 58_684
    assert report["published"] == {
        "listed": 252, "enodebs_heard": 140, "enodebs": 137, "cells": 247, "rows_of_these_cells": 58_387,
    }  # fmt: skip
    assert links.sizes["ue"] == 5_266 and links.sizes["bs"] == 247 - 5  # beyond the raster
    boxes = {k: v for k, v in yaml.safe_load((project_root / split).read_text()).items() if k != "defaults"}
    divided = make_split(links, config.SplitParams(**boxes), 7)
    assert [(divided["role"] == role).sum() for role in ("unknown", "val")] == [185, 334]
    crops = config.CropParams(size=600.0, per_ue=3)
    assert evaluation_crops(links, divided, crops, ("unknown",), seed=7).attrs["unknown_dropped"] == 185 - 172
    enodebs = [name.split("-")[1] for name in links["bs_id"].values]
    _, first, of = np.unique(enodebs, return_index=True, return_inverse=True)
    heard = np.stack([links["heard"].values[:, of == k].any(axis=1) for k in range(len(first))], axis=1)
    sites = links.isel(bs=first).assign(heard=(("ue", "bs"), heard))  # an eNodeB counts once, whatever its cells
    assert evaluation_crops(sites, divided, crops, ("unknown",), seed=7).attrs["unknown_dropped"] == 185 - 169


def test_outside_the_city_is_a_reason(root):
    south = city((41.8645, 41.86545, 12.45, 12.473), margin=650.0)  # five of eight UEs; the mast of two cells is beyond
    links, report = read(root, nbiot(), south)
    assert links.sizes == {"ue": 5, "bs": 1}
    assert report["rejected"]["UE outside the city's box"] == 12
    assert report["rejected"]["station outside the city's raster"] == 10
    with pytest.raises(DataError, match=r"no UE lies in the box of 'home'"):
        read(root, nbiot(), city((41.0, 41.1, 12.45, 12.473)))
    with pytest.raises(DataError, match=r"nothing of the campaign is left[\s\S]*station outside[\s\S]*exchanged"):
        read(root, nbiot(), city((41.8645, 41.86545, 12.45, 12.473), margin=0.0))
    silent = [np.where(np.arange(9) < 2, level, np.nan) for level in matrices(2)[1]]
    savemat(root / MAT, {"dataSet": cell_array(matrices(2)[0], silent)})
    with pytest.raises(DataError, match=r"nothing of the campaign is left[\s\S]*not measured: 10 rows"):
        read(root, nbiot(published=None, positions="all"))


def test_files_are_looked_for_and_checked(root, project_root):
    with pytest.raises(DataError, match=r"no file rome/other\.mat[\s\S]*RFLOC_DATA"):
        read(root, nbiot(mat="rome/other.mat"))
    published = "rome/Campaign_data_NBIoT_1_2_3_4_5_6_interpolated.mat"
    (root / MAT).rename(root / published)
    with pytest.raises(DataError, match="not the published"):
        read(root, nbiot(manifest="rome", mat=published), project=project_root)
    with pytest.raises(ConfigError, match=r"no file rome/campaign\.mat[\s\S]*manifest to null"):
        read(root, nbiot(manifest="rome"), project=project_root)


def test_the_example_table_is_a_campaign_in_the_toy_city(project_root, toy_city, tmp_path, capsys):
    params = CampaignParams(kind="table", cities=["home"], table="toy/campaign.csv")
    links, report = read_campaign(params, RADIO, tmp_path, project_root, toy_city)
    assert links.sizes == {"ue": 120, "bs": 5} and report["rejected"]["nrsrp empty"] == 68
    assert report["rows"] == 575 == sum(report["rejected"].values()) + report["rows_kept"]
    assert np.isfinite(links["bs_azimuth"]).all() and set(links["ue_campaign"].values) == {1, 2}
    assert report["reports_under_sensitivity"] == 0
    said = capsys.readouterr().out  # what decides, and stands in no table
    assert all(knob in said for knob in ("carrier_hz = 8e+08", "power_dbm", "resource_blocks = 84", "sensitivity_dbm"))
    own = pd.read_csv(project_root / "data/toy/campaign.csv")
    (tmp_path / "toy").mkdir()
    turned = own.assign(ue_lat=own["ue_lon"], ue_lon=own["ue_lat"])
    turned.to_csv(tmp_path / "toy/campaign.csv", index=False)  # what lies under data.root comes first
    with pytest.raises(DataError, match="exchange ue_lat and ue_lon"):
        read_campaign(params, RADIO, tmp_path, project_root, toy_city)


def test_what_a_table_does_not_know_is_asked_or_counted(project_root, toy_city, tmp_path, capsys):
    own = pd.read_csv(project_root / "data/toy/campaign.csv")
    lost = own["bs_id"] == "toy-3"
    own.loc[lost, ["bs_lat", "bs_lon"]] = np.nan
    own.to_csv(tmp_path / "own.csv", index=False)
    params = CampaignParams(kind="table", cities=["home"], table="own.csv")
    deaf = RadioParams(sensitivity_dbm=-100.0)
    links, report = read_campaign(params, deaf, tmp_path, project_root, toy_city)
    assert links.sizes["bs"] == 4
    assert report["rejected"]["cell without a known position"] == (lost & own["nrsrp"].notna()).sum()
    weak = int((links["nrsrp"] < -100).sum())
    assert report["reports_under_sensitivity"] == weak > 0
    assert f"{weak} of {report['rows_kept']} reports lie under radio.sensitivity_dbm = -100" in capsys.readouterr().out
    links, _ = read_campaign(params.model_copy(update={"positions": "all"}), RADIO, tmp_path, project_root, toy_city)
    placed, counts = estimate_positions(links, np.ones(links.sizes["ue"], bool), bounds=toy_city.grid.bounds)
    assert counts["estimated"] == 1 and placed.sizes["bs"] == 5
    own.drop(columns=["bs_lat", "bs_lon"]).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(DataError, match=r"nothing of the campaign is left[\s\S]*campaign.positions: all"):
        read_campaign(params, RADIO, tmp_path, project_root, toy_city)
    with pytest.raises(DataError, match=r"set radio.resource_blocks, now 50, to the table's, 83 in the median row"):
        read_campaign(params, RadioParams(resource_blocks=50), tmp_path, project_root, toy_city)


@pytest.fixture(scope="module")
def rome() -> City:
    params = city_params("rome")
    return replace(city(tuple(params.box), params.margin), params=params)  # type: ignore[arg-type]


def test_published_counts(rome_data, rome, project_root):
    """Every row of the real file, and where it goes."""

    def read_rome(**changes: Any):
        params = CampaignParams(kind="nbiot", cities=["home"]).model_copy(update=changes)
        return read_campaign(params, RADIO, rome_data, project_root, rome)

    links, report = read_rome()
    counts = {name: value for name, value in report.items() if isinstance(value, int)}
    assert counts == {
        "locations": 2670, "rows": 40100, "rows_without_toa": 119, "rows_complete": 27469, "locations_complete": 2668,
        "cells": 237, "rows_kept": 7333, "rows_averaged_away": 0, "links": 7333, "ues": 1682, "stations": 11,
        "rows_at_odds": 0, "links_averaged_over_20_dB": 0, "stations_at_a_median_position": 0,
        "reports_under_sensitivity": 0,
    }  # fmt: skip
    assert report["rejected"] == {
        "cell detected, not measured": 12512, "operator missing": 0, "eNodeB not decoded": 1053, "NPCI missing": 0,
        "UE without position": 0, "UE outside the city's box": 6767, "cell without a known position": 12435,
        "station outside the city's raster": 0,
    }  # fmt: skip
    assert 12512 + 119 + 27469 == 40100 == sum(report["rejected"].values()) + 7333
    assert report["published"] == {
        "rows": 7307, "locations": 1664, "positions": 10, "cells": 11, "rows_of_these_cells": 7344,
    }  # fmt: skip
    heard = dict(zip(links["bs_id"].values.tolist(), links["heard"].sum("ue").values.tolist(), strict=True))
    assert sum(heard.values()) == 7333 and heard["10-67589-334"] == 902 and heard["1-300064-35"] == 382
    every, more = read_rome(positions="all")
    assert dict(every.sizes) == {"ue": 1917, "bs": 120} and more["links"] == 7333 + 12435
    assert more["position_sources"] == {"unknown": 109, "published": 11}
    filled, most = read_rome(interpolated=True)
    assert most["rows"] == 80200 and most["rejected"]["interpolated, but measured as well"] == 26535
    assert int(filled["interpolated"].sum()) == 10198 - 7333 and filled.sizes["ue"] == 1843


@pytest.mark.parametrize("scale", ["rome", "rome_tiny"])
def test_features_follow_from_resource_blocks_and_training_ues(scale, rome_data, rome, project_root, tmp_path):
    """NRSRQ = N_RB * NRSRP / RSSI (TS 36.214): features tell N_RB; means and deviations are those of training UEs."""
    params = config.read(compose(project_root, [f"scale={scale}"], tmp_path / "params.yaml"))
    links, _ = read_campaign(params.campaign, params.radio, rome_data, project_root, rome)
    blocks = 10 ** (np.nanmedian(links["nrsrq"] - (links["nrsrp"] - links["rssi"])) / 10)
    assert blocks == pytest.approx(params.radio.resource_blocks, rel=0.05)
    train = make_split(links, params.splits, params.seed)["role"].values == "train"
    boxes = yaml.safe_load((project_root / "conf/splits/rome_paper.yaml").read_text())
    assert links["ue_lat"].values.min() > max(boxes["test_box"][1], boxes["val_box"][1]) + 0.01  # a kilometre north
    for name, about in FEATURES.items():
        values = links[name].values[train]
        assert (about.mean, about.sd) == pytest.approx((np.nanmean(values), np.nanstd(values)), abs=0.051)
