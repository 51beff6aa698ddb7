"""The paper's own sizes are what scale `paper` asks for."""

import numpy as np
import pytest

from rfloc import config
from rfloc.cli import compose
from rfloc.frames import LocalFrame


def test_datasets_b_and_c_have_the_papers_sizes_and_the_region_is_25_by_33_kilometres(project_root, tmp_path):
    paper = config.read(compose(project_root, ["scale=paper"], tmp_path / "params.yaml"))
    synthetic = paper.synthetic
    assert (synthetic.b_ues, len(synthetic.b_cities)) == (64_000, 2)
    assert (synthetic.c_patches, synthetic.c_take, synthetic.c_deployments) == ([10, 10], None, 2)
    assert (synthetic.c_stations, synthetic.c_ues, synthetic.c_height) == (10, 5_000, [40.0, 40.0])
    assert synthetic.c_dense is not None
    assert paper.calibration.n_calls == 90
    assert paper.calibration.paper_stations is None
    (region,) = paper.synthetic.c_regions
    lat_min, lat_max, lon_min, lon_max = paper.cities[region].box
    frame = LocalFrame((lat_min + lat_max) / 2, (lon_min + lon_max) / 2)
    x, y = frame.to_local([lat_min, lat_max], [lon_min, lon_max])
    assert sorted((np.ptp(x), np.ptp(y))) == pytest.approx([25_000.0, 33_000.0], rel=0.01)
