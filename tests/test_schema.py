import numpy as np
import pytest
import xarray as xr

from rfloc import files, schema
from rfloc.errors import DataError, FrameError, SchemaError
from tests.handmade import FRAME, make_raster


@pytest.fixture
def links() -> xr.Dataset:
    rng = np.random.default_rng(3)
    nrsrp = np.where(rng.random((5, 3)) < 0.6, rng.normal(-100, 5, (5, 3)), np.nan)
    nrsrp[0] = np.nan
    ue = {"x": rng.normal(0, 100, 5), "y": rng.normal(0, 100, 5)}
    bs = {k: rng.normal(0, 100, 3) for k in ("x", "y", "h", "power")}
    bs |= {"azimuth": np.array([0.0, np.nan, 270.0]), "id": np.array(["1", "längste Kennung", "3"])}
    features = {name: nrsrp + shift for name, shift in (("rssi", 30), ("nsinr", 110), ("nrsrp", 0), ("nrsrq", 85))}
    return schema.links_dataset(features, ue, bs, FRAME, source="test", city="home", carrier_hz=0.8e9)


def test_links_know_where_and_in_what_unit(links):
    assert all(links[name].attrs["units"] == about.unit for name, about in schema.FEATURES.items())
    x, y = FRAME.to_local(links.ue_lat, links.ue_lon)
    assert np.allclose(x, links.ue_x, atol=0.01) and np.allclose(y, links.ue_y, atol=0.01)
    assert not links.heard[0].any() and (np.isfinite(links.nrsrp) == links.heard).all()
    wanted = {name for name, about in schema.SCHEMAS["links"].items() if not about.optional}
    assert set(links.coords) == {name for name in wanted if name.startswith(("ue_", "bs_"))}


def test_what_is_written_is_read_back(links, tmp_path):
    path = schema.save(links, tmp_path / "deep/er/a.zarr", "links")
    xr.testing.assert_identical(schema.load(path, "links"), links)
    with pytest.raises(SchemaError):
        schema.save(links.drop_vars("nrsrq"), path, "links")
    xr.testing.assert_identical(schema.load(path, "links"), links)
    schema.save(links.isel(ue=slice(2)), path, "links")
    assert schema.load(path, "links").sizes["ue"] == 2
    assert [p.name for p in path.parent.iterdir()] == ["a.zarr"]


def test_nothing_there_is_a_data_error(tmp_path):
    for load in (lambda path: schema.load(path, "links"), files.load_json):
        with pytest.raises(DataError, match="dvc repro"):
            load(tmp_path / "a")
    (tmp_path / "half.zarr").mkdir()
    with pytest.raises(DataError, match="holds no links dataset"):
        schema.load(tmp_path / "half.zarr", "links")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda ds: ds.drop_vars("rssi"), "lacks the variable 'rssi'"),
        (lambda ds: ds.drop_vars("bs_h"), "lacks the variable 'bs_h'"),
        (lambda ds: ds.assign(rssi=ds.rssi.T), "'rssi' has dims"),
        (lambda ds: ds.assign(heard=ds.heard.astype(float)), "'heard' has type float64"),
        (lambda ds: ds.assign(rssi=ds.rssi.assign_attrs(units="mW")), "'rssi' is in mW"),
        (lambda ds: ds.drop_attrs(deep=False), "lacks the attribute 'source'"),
        (lambda ds: ds.assign(heard=~ds.heard), "heard"),
        (lambda ds: ds.assign_attrs(frame_lat0=95.0), "check the order"),
    ],
)
def test_links_that_break_the_schema(links, spoil, said):
    with pytest.raises((SchemaError, FrameError), match=said):
        schema.validate(spoil(links), "links")


def test_measured_links_say_where_positions_come_from(links, tmp_path):
    unplaced = links.assign_coords(
        bs_x=("bs", [0.0, np.nan, 2.0], {"units": "m"}),
        bs_y=("bs", [0.0, np.nan, 2.0], {"units": "m"}),
        bs_position_source=("bs", ["table", "unknown", "estimated"]),
        bs_position_error=("bs", [np.nan, np.nan, 90.0], {"units": "m"}),
        ue_placed=("ue", [False, True, True, False, False]),
    ).assign(interpolated=links["heard"] & False)
    again = schema.load(schema.save(unplaced, tmp_path / "a.zarr", "links"), "links")
    xr.testing.assert_identical(again, unplaced)
    for spoilt, said in (
        (unplaced.drop_vars("bs_position_source"), "1 stations have no position"),
        (unplaced.assign_coords(bs_position_source=("bs", ["unknown"] * 3)), "2 stations have no position"),
        (unplaced.assign_coords(bs_position_source=("bs", ["guess", "unknown", "table"])), "source says .guess"),
        (unplaced.assign(interpolated=~links["heard"]), "interpolated that is not heard"),
        (unplaced.assign_coords(bs_position_error=("bs", np.zeros(3))), "'bs_position_error' is in no unit"),
    ):
        with pytest.raises(SchemaError, match=said):
            schema.validate(spoilt, "links")


def test_a_raster_has_the_shape_of_its_grid_and_roles_are_a_closed_set(links):
    raster = make_raster(np.zeros((3, 4)), x0=0.0, y0=0.0)
    assert schema.validate(raster, "raster") is raster
    with pytest.raises(SchemaError, match=r"is 2 x 4"):
        schema.validate(raster.isel(y=slice(2)), "raster")
    del raster.attrs["grid_cell"]
    with pytest.raises(FrameError, match="grid_cell"):
        schema.validate(raster, "raster")
    split = links[["ue_x", "ue_y", "ue_lat", "ue_lon", "ue_campaign"]].assign(role=("ue", ["train"] * 5))
    split.attrs = {"seed": 1, **FRAME.to_attrs()}
    schema.validate(split, "split")
    with pytest.raises(SchemaError, match="test"):
        schema.validate(split.assign(role=("ue", ["test"] * 5)), "split")
