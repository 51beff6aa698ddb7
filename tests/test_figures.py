import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from shapely import Polygon

from rfloc import config, figures, splits
from rfloc.city import cut
from rfloc.evaluation import METHODS
from rfloc.frames import Grid, LocalFrame
from rfloc.schema import FEATURES
from tests import toy
from tests.handmade import FRAME, make_raster, predictions, scattered


@pytest.fixture
def axes():
    with matplotlib.rc_context(figures.STYLE):
        fig, axes = plt.subplots(1, 4, figsize=(16, 4), layout="constrained")
        yield axes
        fig.canvas.draw()  # what cannot be drawn fails here
        plt.close(fig)


@pytest.fixture
def ax(axes):
    for other in axes[1:]:
        other.remove()
    return axes[0]


@pytest.fixture(scope="module")
def raster():
    building = np.zeros((500, 600))
    building[100:200, 300:450] = 1
    return make_raster(building, x0=-300, y0=-250)


def _labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_every_method_has_a_look_of_its_own_that_is_legible_on_white():
    styles = [figures.method_style(name) for name in METHODS]
    assert len({(s["color"], s["linestyle"], s["marker"]) for s in styles}) == len(styles)
    assert figures.method_style("mine") == figures.method_style("mine") | {"label": "mine"}
    for colour in {style["color"] for style in styles}:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        contrast = 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
        assert contrast > 2


def test_city_map_and_box_outline_are_in_metres_and_north_up(ax, raster):
    figures.city_map(ax, raster)
    assert ax.images[0].get_extent() == [-300, 300, -250, 250] and ax.images[0].origin == "lower"
    assert ax.images[0].get_array()[150, 400] == 2
    assert "[m]" in ax.get_xlabel() and "[m]" in ax.get_ylabel()
    assert [t.get_text() for t in ax.texts] == ["100 m"]
    xs = ax.lines[-1].get_xdata()
    assert xs[1] - xs[0] == pytest.approx(100)
    figures.box_outline(ax, FRAME, [FRAME.lat0, FRAME.lat0 + 0.001, FRAME.lon0, FRAME.lon0 + 0.001])
    x, y = ax.lines[-1].get_data()
    assert (x[0], y[0]) == (x[-1], y[-1]) == pytest.approx((0, 0), abs=1e-6)
    assert (x.max(), y.max()) == pytest.approx((83.0, 111.1), abs=0.3)


def test_a_large_city_is_thinned_and_keeps_its_place(ax):
    building = np.zeros((4, 4 * figures.MOST_PIXELS))
    building[:, : 2 * figures.MOST_PIXELS] = 1
    figures.city_map(ax, make_raster(building), roofs=True, bar=False)
    tone, roofs = (image.get_array() for image in ax.images)
    assert tone.shape == (1, figures.MOST_PIXELS)
    assert ax.images[0].get_extent() == [-500, -500 + 4 * figures.MOST_PIXELS, -500, -496]
    assert (tone[0] == 2).mean() == 0.5 and (roofs.mask == (tone != 2)).all()
    assert roofs.compressed().tolist() == [15.0] * (figures.MOST_PIXELS // 2)


def test_split_map_shows_each_role_with_its_count_outside_the_data_and_outlines_what_is_held_out(ax, raster):
    links, _ = scattered(400)
    split = splits.make_split(links, config.SplitParams(block=100.0), seed=0)
    figures.split_map(ax, raster, links, split)
    counts = [f"{label} ({n})" for role, label in figures.ROLE_LABELS.items() if (n := int((split.role == role).sum()))]
    assert sorted(_labels(ax)) == sorted([*counts, "base stations (8)"]) and len(counts) > 3
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    val, unknown = ax.collections
    rings = [Polygon(ring).area for ring in unknown.get_segments()]
    assert sum(rings) == pytest.approx(splits.unknown_area(split).area)
    assert to_rgb(figures.ROLE_COLOURS["unknown"]) == tuple(unknown.get_edgecolor()[0][:3])
    assert to_rgb(figures.ROLE_COLOURS["val"]) == tuple(val.get_edgecolor()[0][:3])


def test_deployments_and_patches_show_the_areas_of_dense_twins(ax, raster):
    links, bs = scattered(20, 4)
    attrs = {"city": "r-00-01", "areas": [[-200.0, -200.0, -100.0, -100.0], [50.0, 0.0, 150.0, 100.0]]}
    dense = links.assign_attrs(attrs | {"dense": True})
    figures.deployment_map(ax, raster, dense)
    assert [area.get_bbox().bounds for area in ax.patches] == [(-200, -200, 100, 100), (50, 0, 100, 100)]
    assert _labels(ax) == ["UEs (20)", "base stations (4)"]

    frame = LocalFrame(FRAME.lat0 + 0.01, FRAME.lon0)
    region = toy.city_params("toy").model_copy(update={"box": [44.9, 45.1, 9.9, 10.1]})
    other = ax.figure.add_subplot()
    figures.patch_grid(other, frame, cut("r", region, [2, 2], 0.0), [dense, dense.assign_attrs(dense=False)])
    assert [line.get_color() for line in other.lines[:4]] == ["0.8"] * 3 + ["black"], "patches without links are pale"
    x, y = other.lines[4].get_data()
    np.testing.assert_allclose((x, y + 1111.3), bs.T, atol=1.0)  # a hundredth of a degree of latitude
    assert len(other.patches) == 2


def test_station_positions_draw_a_circle_of_one_error_by_source(ax, raster):
    links, bs = scattered(5, 3)
    links = links.assign_coords(bs_position_error=("bs", [np.nan, 40.0, 60.0]))
    links = links.assign_coords(bs_position_source=("bs", ["published", "estimated", "estimated"]))
    links["bs_x"][2] = 5000.0
    figures.station_positions(ax, raster, links)
    np.testing.assert_allclose(ax.patches[0].center, bs[1])
    assert [circle.radius for circle in ax.patches] == [40, 60]  # an unknown error has none
    assert _labels(ax) == ["published (1)", "estimated (2, 1 outside)"]
    assert ax.get_xlim() == (-300, 300)


def test_station_strokes_follow_the_azimuth(ax):
    links, bs = scattered(5, 3)
    links["bs_azimuth"][:] = [90.0, 180.0, np.nan]
    ax.set_xlim(0, 50 / 0.035)
    figures.stations(ax, links)
    strokes = ax.lines[:-1]
    assert len(strokes) == 2  # an unknown azimuth has none
    for stroke, start, (dx, dy) in zip(strokes, bs, ((50, 0), (0, -50)), strict=False):
        np.testing.assert_allclose(stroke.get_xydata()[1] - start, [dx, dy], atol=1e-9)


def test_radio_map_leaves_cells_without_a_ray_blank(ax, raster):
    grid = Grid(-300, -250, 10, 60, 50)
    level = np.full(grid.shape, -90.0)
    level[:, :30] = np.nan
    figures.radio_map(ax, raster, level, grid)
    shown = ax.images[1]
    assert shown.get_array().mask[:, :30].all() and not shown.get_array().mask[:, 30:].any()
    assert shown.get_extent() == [-300, 300, -250, 250]
    assert any(a.get_ylabel() == "NRSRP [dBm]" for a in ax.figure.axes)


def test_error_cdf_ends_at_one(ax):
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 500, (40, 2))
    shown = {name: predictions(np.arange(40), at, at + 30, "unknown") for name in ("centre", "knn")}
    figures.error_cdf(ax, shown, "unknown")
    for line, name in zip(ax.lines, shown, strict=True):
        data = line.get_xydata()
        assert line.get_color() == figures.method_style(name)["color"]
        assert data[-1, 1] == 1 and (np.diff(data[:, 1]) >= 0).all()
        np.testing.assert_allclose(data[1:, 0], np.hypot(30, 30))
    assert "40 UEs" in ax.get_ylabel()


def test_feature_distributions_share_bins_and_sum_to_all(axes):
    links, _ = scattered(200)
    figures.feature_distributions(axes, {"A": links, "B": links.isel(ue=slice(0, 50))})
    assert [a.get_xlabel() for a in axes] == [f"{k.upper()} [{about.unit}]" for k, about in FEATURES.items()]
    for patch in axes[2].patches:
        xy = patch.get_xy()[:-1]
        widths, heights = np.diff(xy[::2, 0]), xy[1:-1:2, 1]
        assert 97 < heights.sum() <= 100.001 and np.allclose(widths, widths[0])
    assert f"A ({int(links.heard.sum()):,} links)" in _labels(axes[3])


def test_features_that_nobody_measured_have_no_axis(axes):
    links, _ = scattered(50)
    nothing = links["rssi"] * np.nan
    bare = links.assign(rssi=nothing, nsinr=nothing, nrsrq=nothing)
    figures.feature_distributions(axes, {"A": bare})
    assert [a.get_xlabel() for a in axes if a.figure] == ["NRSRP [dBm]"]
    assert _labels(axes[0]) == [f"A ({int(links.heard.sum()):,} links)"]


def test_arrows_join_boxes_at_their_edges(ax):
    ax.figure.set_size_inches(6, 4)
    boxes = {"in": (1.0, 3.0, "what goes in", "white"), "out": (5.0, 1.0, "what\ncomes out", "orange")}
    figures.diagram(boxes, [("in", "out")], ax)
    ax.figure.canvas.draw()
    *texts, arrow = ax.texts
    assert [text.get_text() for text in texts] == ["what goes in", "what\ncomes out"]
    assert texts[1].get_bbox_patch().get_facecolor()[:3] == to_rgb("orange")
    shown = arrow.arrow_patch.get_window_extent()
    ends = [text.get_bbox_patch().get_window_extent() for text in texts]
    assert shown.x0 >= ends[0].x0 + 1 and shown.x1 <= ends[1].x1 - 1 and shown.width > 100
    assert shown.y1 <= ends[0].y1 and shown.y0 >= ends[1].y0
