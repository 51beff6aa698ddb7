"""The protocol over folds against numpy by hand: two rows, from levels and positions alone."""

import numpy as np
import xarray as xr

from rfloc.config import EvaluationParams, SplitParams
from rfloc.crops import CropBatcher, evaluation_crops
from rfloc.evaluation import evaluate, table1
from rfloc.localizers import trivial_rows
from rfloc.splits import folds
from tests.handmade import crop_params, make_links, open_raster, path_loss

BS = np.array([[-150.0, -120.0], [180.0, -60.0], [20.0, 200.0]])


def test_two_rows_over_folds_are_what_numpy_says():
    rng = np.random.default_rng(4)
    ue = rng.uniform(-300, 300, (160, 2))
    level = path_loss(ue, BS) + rng.normal(0, 4, (160, 3))
    links, crops = make_links(ue, BS, level), crop_params(per_ue=2)
    batcher = CropBatcher(links, open_raster(1800), crops)
    made = folds(links, SplitParams(block=150.0, buffer=20.0, val=0.1, known=0.1), 3, 1)
    drawn = [evaluation_crops(links, split, crops, ("val", "known", "unknown"), seed=1) for split in made]
    found = {}
    for split, tests in zip(made, drawn, strict=True):
        rows = trivial_rows(batcher, split, seed=1)
        for name in ("centre", "centroid"):
            found.setdefault(name, []).append(evaluate(rows[name], batcher, tests))
    together = {name: xr.concat(of, "sample", combine_attrs="drop_conflicts") for name, of in found.items()}
    scored = {row.key: row for row in table1(together, EvaluationParams(), seed=1, paper=False, split="folds")}

    for street in ("known", "unknown"):  # by hand: crops of all folds, by UE, then over UEs
        errors = {"centre": [[] for _ in ue], "centroid": [[] for _ in ue]}
        for tests in drawn:
            for k, role, x, y in zip(*(tests[c].values for c in ("ue", "role", "crop_x", "crop_y")), strict=True):
                if role == street:
                    inside = np.maximum(abs(BS[:, 0] - x), abs(BS[:, 1] - y)) <= 280
                    weight = 10 ** (level[k] / 20) * inside
                    guess = weight @ BS / weight.sum()
                    errors["centre"][k].append(np.hypot(x - ue[k, 0], y - ue[k, 1]))
                    errors["centroid"][k].append(np.hypot(*(guess - ue[k])))
        for name, by_ue in errors.items():
            each = [np.mean(e) for e in by_ue if e]
            got = getattr(scored[name], street)
            assert got.n == len(each) and got.crops == sum(map(len, by_ue))
            np.testing.assert_allclose(got.mean, np.mean(each), rtol=1e-5)
            np.testing.assert_allclose(got.median, np.median(each), rtol=0.05)
    assert scored["centre"].unknown.n == 160 and scored["centre"].unknown.crops == 320
    assert scored["centroid"].split == "folds"
