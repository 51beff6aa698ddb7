"""How much of the log-likelihood of reports may count, for azimuths' regions to hold what they say.

`python -m benchmarks.tempering` writes results/benchmarks/tempering.json in about ten minutes: the share of true
azimuths within the 50 and 90 % regions, and the median error, by the share that counts. No campaign is one that
`benchmarks.calibration` judges on: its seeds are others.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.calibration import FRONT_TO_BACK, SIZES, Sizes, World, credibility, save
from benchmarks.tracing.side_by_side import rounded
from rfloc import calibration
from rfloc.backend import prepare
from rfloc.calibration.sectors import TEMPER, Facing, Orientations
from rfloc.config import project_root
from rfloc.frames import wrap_degrees
from rfloc.pipeline.record import revision_of
from rfloc.splits import all_train

Floats = NDArray[np.float64]

#: Cities and seeds of the campaigns, and shares that are tried.
CAMPAIGNS = (("etoile", 101), ("florence", 102), ("etoile", 103), ("florence", 104))
TRIED = (1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2)


def judged(world: World, front_to_back: float, stated: bool) -> dict[float, tuple[Floats, Floats]]:
    """Credibility of the true azimuths, and errors [deg], by the share that counts, of one campaign.

    The share rules what answers are made of log-likelihoods of the last round; what stations share is learnt once.
    """
    (links, true), (plane, rays) = world.campaign(front_to_back), world.rays(front_to_back)
    truth = true.azimuth
    links = links if stated else links.assign_coords(bs_azimuth=("bs", links["bs_azimuth"].values * np.nan))
    answer, last = Orientations.facing, dict[int, tuple[Orientations, Floats, float]]()

    def noted(self: Orientations, log_likelihood: Floats, stated: float) -> Facing:
        last[id(self)] = self, log_likelihood / TEMPER, stated
        return answer(self, log_likelihood, stated)

    with patch.object(Orientations, "facing", noted):
        split = all_train(links, [], world.sizes.seed)
        found = calibration.calibrate(links, split, plane, rays, world.params, cache=world.cache)
    rounds = list(zip(found.survey.reports, last.values(), strict=True))
    result = {}
    for share in TRIED:
        facings = [(b, answer(of, share * log, table)) for b, (of, log, table) in rounds]
        sided = [(facing, truth[b]) for b, facing in facings if len(facing.weights)]
        cred = [credibility(facing.weights, true) for facing, true in sided]
        off = [abs(float(wrap_degrees(facing.azimuth - true))) for facing, true in sided]
        result[share] = np.array(cred), np.array(off)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=SIZES, default="full", help="as in benchmarks.calibration (%(default)s)")
    parser.add_argument("--output", type=Path, default=project_root() / "results" / "benchmarks" / "tempering.json")
    args = parser.parse_args()
    sizes: Sizes = SIZES[args.sizes]
    backend, (revision, dirty) = prepare(), revision_of(project_root())
    found: dict[float, list[tuple[Floats, Floats]]] = {share: [] for share in TRIED}
    for city, seed in CAMPAIGNS:
        with tempfile.TemporaryDirectory() as folder:
            world = World(city, replace(sizes, seed=seed), Path(folder))
            for front_to_back in FRONT_TO_BACK:
                for stated in (True, False):
                    for share, of in judged(world, front_to_back, stated).items():
                        found[share].append(of)
        print(f"{city}, seed {seed}", flush=True)
    table: dict[str, Any] = {}
    for share, pairs in found.items():
        cred, off = (np.concatenate(values) for values in zip(*pairs, strict=True))
        within = {"in 90 %": float(np.mean(cred <= 0.9)), "in 50 %": float(np.mean(cred <= 0.5))}
        table[f"{share:g}"] = within | {"off by, median [°]": float(np.nanmedian(off)), "azimuths": len(cred)}
        print(f"{share:5g}: 90 % hold {within['in 90 %']:.3f}, 50 % hold {within['in 50 %']:.3f}")
    about = {"revision": {"commit": revision, "dirty": dirty}, "sizes": asdict(sizes) | {"seed": None}}
    machine = f"{os.cpu_count()} cores, {backend.kind} {backend.version}"
    campaigns = [f"{city}, seed {seed}" for city, seed in CAMPAIGNS]
    save(rounded(about | {"campaigns": campaigns, "shares": table, "machine": machine}), args.output)


if __name__ == "__main__":
    main()
