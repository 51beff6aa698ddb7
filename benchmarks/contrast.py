"""What contrast is for: Rome's stations fitted with and without it, judged on blocks of training UEs left out.

`python -m benchmarks.contrast` reads what the pipeline made at scale `rome` (`dvc repro problem`), takes minutes and
writes results/benchmarks/contrast.json. Candidate poses of every site are traced once; then, for every prior of
contrast and every way of leaving blocks out, levels are compared with those of the UEs left out: as traced at the
nominal pose, with levels solved there, at the likeliest pose, at the posterior's mean, which calibration chooses, and
averaged over the posterior. Only training UEs of the split take part. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.posing.world import HELD_OUT
from benchmarks.tracing.side_by_side import rounded
from rfloc import config, files, schema
from rfloc.calibration import likelihood
from rfloc.calibration.candidates import Site, cloud_of
from rfloc.calibration.parallel import each
from rfloc.calibration.reports import Reports, reported_level, reports_of, sites_of
from rfloc.calibration.site import STATED, turned
from rfloc.calibration.tracing import Tracer, World, site_name
from rfloc.city import open_city
from rfloc.datasets.radio import SUBCARRIERS
from rfloc.datasets.statistical import decades_db
from rfloc.errors import ConfigError
from rfloc.pipeline.provenance import revision_of
from rfloc.simulation.maps import in_the_open, map_grid
from rfloc.splits import make_split
from rfloc.stations import Stations

Floats = NDArray[np.float64]

#: Prior standard deviations of contrast; the first takes rays at face value.
PRIORS = (1e-4, 0.1, 0.2, 0.3, 0.6)
#: Candidates a site, ways of leaving blocks out, and UEs left out that a station must have to be scored.
CANDIDATES, WAYS, FEWEST = 64, 8, 15
#: Candidates of greatest posterior weight that an average of levels is over.
SEVERAL = 16


def judge_site(
    links: xr.Dataset, members: NDArray[np.intp], world: World, params: config.CalibrationParams
) -> list[dict[str, Any]]:
    """Scores of one site: a row a station, prior, way and kind of pose. `links` are of training UEs in the open."""
    stations, radio = Stations.from_dataset(links).take(members), world.radio
    x, y = links["ue_x"].values, links["ue_y"].values
    trace = Tracer(world, site_name(stations), x, y)
    cloud = cloud_of(stations.take([0]), params, CANDIDATES, world.seed).above_roofs(trace.city)
    gains = [trace(cloud.take([k])) for k in range(cloud.n)]
    rows = []
    for way in range(WAYS):
        role = make_split(links, HELD_OUT, way)["role"].values
        fit, out = role == "train", role == "unknown"
        given = reports_of(links, fit, radio, world.seed)
        use = [k for k, b in enumerate(members) if given[b].n >= params.min_ues]
        for prior in PRIORS:
            with patch.object(likelihood, "CONTRAST_SD", prior):
                said = [given[members[k]] for k in use]
                levels = _levels(stations.take(use), said, cloud, gains, trace, (fit, out), radio, params)
            for name, level in levels.items():
                rows += [
                    {"prior": prior, "way": way, "pose": name, "bs_id": str(stations.id[k])} | scores
                    for k, of in zip(use, level, strict=True)
                    if (scores := _scores(links.isel(ue=out, bs=[members[k]]), of, radio, stations.power[k]))
                ]
    return rows


def _levels(
    stations: Stations, reports: list[Reports], cloud: Stations, gains: list[Floats], trace: Tracer,
    roles: tuple[NDArray[np.bool_], NDArray[np.bool_]], radio: config.RadioParams, params: config.CalibrationParams,
) -> dict[str, list[Floats]]:  # fmt: skip
    """Path gain with antenna [dB] at UEs left out, a sector each, by the kinds of pose."""
    x, y, (fit, out) = trace.x, trace.y, roles
    raw = [gains[0][out]] * stations.n
    if not stations.n:
        return {"as traced": raw}
    site = Site(stations, reports, x[fit], y[fit], radio, params)
    prior = -0.5 * (np.hypot(cloud.x - stations.x[0], cloud.y - stations.y[0]) / (params.position_sd or np.inf)) ** 2

    def judged() -> Floats:
        return np.array([site.log_evidence(cloud.take([k]), gain[fit]) for k, gain in enumerate(gains)])

    def level(pose: Stations, gain: Floats) -> list[Floats]:
        decades, found = decades_db(pose, x, y, radio.ue_height)[:, 0], []
        for solved, antenna in zip(site.solve(pose, gain[fit], heed_silence=True), site.fine, strict=True):
            turn = turned(solved, antenna.turns).best
            of = likelihood.believed_db(gain, decades, solved.slope[turn], solved.contrast[turn])
            found.append((of + solved.offset_db[turn] + antenna.gain_db(pose, x, y)[turn])[out])
        return found

    site.learn_correlation(cloud.take([0]), gains[0][fit])
    first = int((judged() + prior).argmax())
    site.learn_correlation(cloud.take([first]), gains[first][fit])
    evidence = judged()
    weights = softmax(STATED * evidence + prior)
    east, north, height = weights @ np.column_stack([cloud.x, cloud.y, cloud.h])
    mean = cloud.take([0]).replace(x=[east], y=[north], h=[height]).above_roofs(trace.city)
    several = np.argsort(-weights)[:SEVERAL]
    levels = [level(cloud.take([k]), gains[k]) for k in several]
    likeliest = int((evidence + prior).argmax())
    return {
        "as traced": raw, "unmoved": level(cloud.take([0]), gains[0]),
        "likeliest": level(cloud.take([likeliest]), gains[likeliest]), "mean": level(mean, trace(mean)),
        "averaged": [np.average(of, axis=0, weights=weights[several]) for of in zip(*levels, strict=True)],
    }  # fmt: skip


def _scores(links: xr.Dataset, gain_db: Floats, radio: config.RadioParams, power: float) -> dict[str, float]:
    """Rank correlation with both features, error of the level [dB]; `links` of one station; empty if few report it."""
    found = {}
    for feature in ("nrsrp", "rssi"):
        measured = links[feature].values[:, 0].astype(float)
        told = np.isfinite(measured)
        if told.sum() < FEWEST or np.ptp(measured[told]) == 0:
            return {}
        found[feature] = float(spearmanr(gain_db[told], measured[told]).statistic)
    level = reported_level(links, radio)[:, 0]
    gap = level - power + 10 * np.log10(SUBCARRIERS * radio.resource_blocks) - gain_db
    return found | {"rms_db": float(np.sqrt(np.nanmean(gap[np.isfinite(gap)] ** 2)))}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over ways, then over stations, for every prior and kind of pose."""
    table = pd.DataFrame(rows)
    values = ["nrsrp", "rssi", "rms_db"]
    means = table.groupby(["prior", "pose", "bs_id"])[values].mean().groupby(["prior", "pose"]).mean()
    return [{str(k): v for k, v in row.items()} for row in means.reset_index().to_dict("records")]


def main(arguments: list[str] | None = None) -> None:
    root = config.project_root()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=root / "results" / "benchmarks" / "contrast.json")
    args = parser.parse_args(arguments)
    params = config.load(root / "params.yaml")
    if params.campaign.kind == "hidden":
        raise ConfigError(
            f"scale {params.scale} has no measurements", "contrast is about real ones",
            "rfloc params --scale rome && dvc repro problem",
        )  # fmt: skip
    home, build = params.campaign.cities[0], root / "build"
    city = open_city(build / "cities" / home)
    links = schema.load(build / "links/A" / f"{home}.zarr", "links")
    role = schema.load(build / "splits" / f"{home}.zarr", "split")["role"].values.astype(str)
    seen = in_the_open(city, map_grid(city, params.simulation.cell), links["ue_x"].values, links["ue_y"].values)
    links = links.isel(ue=(role == "train") & seen).load()
    world = World(
        city.folder,
        params.simulation,
        params.radio,
        params.calibration.samples,
        params.seed,
        build / "cache/calibration",
    )
    sites = sites_of(Stations.from_dataset(links))
    jobs = [(links, members, world, params.calibration) for members in sites]
    rows: list[dict[str, Any]] = []
    names = [str(members) for members in sites]
    for number, (_, found) in enumerate(each(judge_site, jobs, names, params.engine), 1):
        rows += found
        print(f"site {number}/{len(sites)}", flush=True)
    revision, dirty = revision_of(root)
    result = {
        "revision": {"commit": revision, "dirty": dirty}, "summary": summary(rows), "rows": rows,
        "ues": int(links.sizes["ue"]), "in_buildings": int(((role == "train") & ~seen).sum()),
        "sizes": {"candidates": CANDIDATES, "ways": WAYS, "block_m": HELD_OUT.block, "left_out": HELD_OUT.unknown},
    }  # fmt: skip
    args.output.parent.mkdir(parents=True, exist_ok=True)
    files.save_json(rounded(result), args.output)
    print(pd.DataFrame(result["summary"]).round(3).to_string(index=False))
    print(json.dumps(rounded(result["summary"])))


if __name__ == "__main__":
    main()
