"""Small links, rasters and splits made by hand, for tests that need no simulation."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from rfloc.config import CropParams
from rfloc.frames import Grid, LocalFrame
from rfloc.schema import links_dataset, validate, with_units

FRAME = LocalFrame(41.87, 12.46)


def crop_params(**changes: object) -> CropParams:
    """560 m crops with a 56 x 56 px image and a 28 x 28 posterior (20 m cells)."""
    base: dict[str, object] = {"size": 560.0, "jitter": 0.9, "min_heard": 1, "max_bs": 6, "pixels": 56, "output": 28}
    return CropParams(**(base | changes))  # type: ignore[arg-type]


def make_raster(
    building: np.ndarray, road: np.ndarray | None = None, x0: float = -500.0, y0: float = -500.0
) -> xr.Dataset:
    """Raster of 1 m cells; row 0 = south."""
    grid = Grid(x0, y0, 1.0, building.shape[1], building.shape[0])
    ds = xr.Dataset(
        {
            "building": (("y", "x"), building.astype(np.uint8)),
            "road": (("y", "x"), (building == 0 if road is None else road).astype(np.uint8)),
            "height": (("y", "x"), 15.0 * building.astype(np.float32)),
        },
        attrs=FRAME.to_attrs() | grid.to_attrs(),
    )
    return validate(with_units(ds, "raster"), "raster")


def open_raster(n: int = 1000) -> xr.Dataset:
    """One big square, n x n metres, all road."""
    return make_raster(np.zeros((n, n)), x0=-n / 2, y0=-n / 2)


def make_links(ue: np.ndarray, bs: np.ndarray, nrsrp: np.ndarray, **features: np.ndarray) -> xr.Dataset:
    """Links from positions (U, 2), (M, 2) and NRSRP (U, M); other features default to fixed offsets of NRSRP."""
    others = {"rssi": nrsrp + 27.0, "nsinr": nrsrp + 100.0, "nrsrq": np.where(np.isnan(nrsrp), np.nan, -11.0)}
    m = len(bs)
    return links_dataset(
        {"nrsrp": nrsrp} | others | features,
        {"x": ue[:, 0], "y": ue[:, 1]},
        {
            "x": bs[:, 0], "y": bs[:, 1], "h": np.full(m, 30.0), "azimuth": np.full(m, np.nan),
            "power": np.full(m, 43.0), "id": np.array([f"b{i}" for i in range(m)]),
        },
        FRAME,
        source="made by hand",
        city="home",
        carrier_hz=0.8e9,
    )  # fmt: skip


def path_loss(xy: np.ndarray, bs: np.ndarray, exponent: float = 3.5) -> np.ndarray:
    """NRSRP of a log-distance law [dBm]: xy (..., 2), bs (M, 2) -> (..., M)."""
    distance = np.linalg.norm(xy[..., None, :] - bs, axis=-1)
    return -20.0 - 10 * exponent * np.log10(np.maximum(distance, 5.0))


def make_split(links: xr.Dataset, role: np.ndarray) -> xr.Dataset:
    """Split with the roles given."""
    ds = xr.Dataset({"role": ("ue", role.astype(str))}, attrs={"seed": 0} | FRAME.to_attrs())
    ds = ds.assign_coords({name: links[name] for name in ("ue_x", "ue_y", "ue_lat", "ue_lon", "ue_campaign")})
    return validate(with_units(ds, "split"), "split")


def scattered(n_ue: int = 60, n_bs: int = 8, reach: float = 220.0, seed: int = 0) -> tuple[xr.Dataset, np.ndarray]:
    """Links of UEs and stations scattered over [-reach, reach]^2, weakest 30 % not heard; and station positions."""
    rng = np.random.default_rng(seed)
    ue, bs = rng.uniform(-reach, reach, (n_ue, 2)), rng.uniform(-reach, reach, (n_bs, 2))
    level = path_loss(ue, bs)
    level[level < np.quantile(level, 0.3)] = np.nan
    return make_links(ue, bs, level), bs


def predictions(
    ue: ArrayLike, xy: ArrayLike, hat: ArrayLike, role: ArrayLike = "known", localizer: str = "p"
) -> xr.Dataset:
    """Predictions of UEs at xy (S, 2), estimated at hat (S, 2), with crops centred on the UEs."""
    n = len(ue)
    xy, hat = np.asarray(xy, float), np.asarray(hat, float)
    ds = xr.Dataset(
        {
            "ue": ("sample", np.asarray(ue)),
            "x": ("sample", xy[:, 0]), "y": ("sample", xy[:, 1]),
            "x_hat": ("sample", hat[:, 0]), "y_hat": ("sample", hat[:, 1]),
            "crop_x": ("sample", xy[:, 0]), "crop_y": ("sample", xy[:, 1]),
            "role": ("sample", np.broadcast_to(np.asarray(role, str), n)),
        },
        attrs={"localizer": localizer, "crop_size": 600.0, "city": "home"} | FRAME.to_attrs(),
    )  # fmt: skip
    return validate(with_units(ds, "predictions"), "predictions")
