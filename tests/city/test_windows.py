from __future__ import annotations

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from rfloc.city.raster import CHUNK, write_raster
from rfloc.city.windows import AreaPooler, RasterReader
from rfloc.frames import Grid
from rfloc.schema import load
from tests.handmade import FRAME, make_raster

#: A raster of 2 x 2 chunks, the outer ones cut.
GRID = Grid(-700.0, -600.0, 1.0, CHUNK + 300, CHUNK + 200)


@pytest.fixture(scope="module")
def layers():
    """Buildings, roads and heights at random in patches of 20 m."""
    rng = np.random.default_rng(1)
    coarse = rng.random((-(-GRID.ny // 20), -(-GRID.nx // 20))) < 0.3
    building = np.kron(coarse, np.ones((20, 20), bool))[: GRID.ny, : GRID.nx]
    height = np.where(building, rng.uniform(3, 30, building.shape), 0).astype(np.float32)
    return {"building": building, "road": ~building, "height": height}


@pytest.fixture(scope="module")
def padded(layers):
    """The layers with 2 km of nothing around."""
    return {name: np.pad(values.astype(np.float32), 2000) for name, values in layers.items()}


@pytest.fixture(scope="module")
def raster(layers, tmp_path_factory):
    """The raster in a store, opened lazily."""
    path = tmp_path_factory.mktemp("raster") / "r.zarr"
    write_raster(path, GRID, [(slice(0, GRID.ny), slice(0, GRID.nx), layers)])
    zarr.open_group(path).attrs.update(FRAME.to_attrs())
    return load(path, "raster", lazy=True)


@settings(max_examples=40)
@given(st.integers(-300, 1500), st.integers(-300, 1500), st.integers(1, 700), st.integers(1, 700))
def test_a_window_is_the_slice_padded_with_zeros(raster, padded, row, col, rows, cols):
    got = RasterReader(raster).window(["building", "height"], row, col, rows, cols)
    for part, name in zip(got, ("building", "height"), strict=True):
        want = padded[name][2000 + row :, 2000 + col :][:rows, :cols]
        assert np.array_equal(part, want), name


def test_single_cells_are_those_of_the_layer_in_any_shape(raster, layers):
    rng = np.random.default_rng(2)
    row, col = rng.integers(0, GRID.ny, (7, 30)), rng.integers(0, GRID.nx, (7, 30))
    reader = RasterReader(raster)
    assert np.array_equal(reader.at("height", row, col), layers["height"][row, col])
    assert reader.at("road", 5, 1200) == layers["road"][5, 1200]


def test_few_chunks_are_read_and_few_are_kept(raster, monkeypatch):
    reader = RasterReader(raster, kept=2 * CHUNK**2)
    read = []
    original = type(raster["building"]).values
    monkeypatch.setattr(
        type(raster["building"]), "values", property(lambda a: read.append(a.shape) or original.fget(a))
    )
    for _ in range(5):
        reader.window(["building"], 100, 100, 601, 601)
    assert read == [(CHUNK, CHUNK)]
    reader.window(["building"], 800, 800, 400, 400)  # four chunks, of which two fit beside
    assert len(read) == 4 and reader._held <= reader.kept


def test_a_reader_travels_to_another_process(raster):
    reader = RasterReader(raster)
    want = reader.window(["building"], 0, 0, 50, 60)
    assert np.array_equal(pickle.loads(pickle.dumps(reader)).window(["building"], 0, 0, 50, 60), want)


def cumulative(building: np.ndarray, x0: float, y0: float, x: float, y: float, size: float, pixels: int) -> np.ndarray:
    """Area averages by interpolating the integral of the whole raster: (pixels, pixels), row 0 = north."""
    sums = np.zeros((building.shape[0] + 1, building.shape[1] + 1))
    sums[1:, 1:] = building.cumsum(0).cumsum(1)
    edges = [(v - size / 2 - v0) + size / pixels * np.arange(pixels + 1) for v, v0 in ((y, y0), (x, x0))]
    rows = np.stack([np.interp(edges[0], np.arange(len(sums)), column) for column in sums.T], axis=1)
    corners = np.stack([np.interp(edges[1], np.arange(sums.shape[1]), row) for row in rows])
    return np.diff(np.diff(corners, axis=0), axis=1)[::-1] / (size / pixels) ** 2


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (301.37, 320.81), (-690.0, 590.25), (5000.0, 0.0)])
@pytest.mark.parametrize(("size", "pixels"), [(560.0, 112), (601.0, 98), (33.3, 98)])
def test_windows_pool_as_the_integral_of_the_whole_raster(raster, layers, x, y, size, pixels):
    got = AreaPooler(raster, ["building", "road"]).window(x, y, size, pixels)
    for part, name in zip(got, ("building", "road"), strict=True):
        want = cumulative(layers[name].astype(float), GRID.x0, GRID.y0, x, y, size, pixels)
        np.testing.assert_allclose(part, want, atol=2e-6)


def test_pooling_is_the_mean_of_whole_cells():
    rng = np.random.default_rng(1)
    building = rng.random((1000, 1000)) < 0.3
    pooler = AreaPooler(make_raster(building), ["building"])
    got = pooler.window(20.0, -40.0, 560, 56)[0]
    south, west = 500 - 40 - 280, 500 + 20 - 280
    block = building[south : south + 560, west : west + 560]
    want = block.reshape(56, 10, 56, 10).mean(axis=(1, 3))[::-1]
    np.testing.assert_allclose(got, want, atol=1e-6)


@settings(max_examples=30)
@given(st.floats(-400, 400), st.floats(-400, 400), st.sampled_from([(560.0, 56), (97.3, 13), (8.4, 24)]))
def test_pooling_is_exact_at_any_offset_and_zero_outside(x, y, window):
    size, pixels = window
    building = np.zeros((600, 500))
    building[100:250, 50:320] = 1
    pooler = AreaPooler(make_raster(building, x0=-250, y0=-300), ["building"])
    got = pooler.window(x, y, size, pixels)[0]
    edges_x = x - size / 2 + size / pixels * np.arange(pixels + 1)
    edges_y = y - size / 2 + size / pixels * np.arange(pixels + 1)

    def overlap(edges, low, high):
        return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / (size / pixels)

    want = np.outer(overlap(edges_y, -200, -50), overlap(edges_x, -200, 70))[::-1]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert got.min() >= 0 and not got[want == 0].any()  # nothing where nothing is, not even rounding


def test_a_whole_city_is_never_held(tmp_path):
    """A raster of 10^10 cells, which no array could hold, answers."""
    grid = Grid(-50_000.0, -50_000.0, 1.0, 100_000, 100_000)
    patch = slice(50_000, 50_010), slice(50_000, 50_010), {"building": np.ones((10, 10)), "road": np.zeros((10, 10)),
                                                           "height": np.full((10, 10), 7.0)}  # fmt: skip
    facts = write_raster(tmp_path / "r.zarr", grid, [patch])
    zarr.open_group(tmp_path / "r.zarr").attrs.update(FRAME.to_attrs())
    raster = load(tmp_path / "r.zarr", "raster", lazy=True)
    assert facts["median_height"] == 7.0
    assert RasterReader(raster).window(["building"], 49_900, 49_900, 201, 201).sum() == 100
    assert AreaPooler(raster, ["building"]).window(5.0, 5.0, 20.0, 2).mean() == pytest.approx(0.25)
