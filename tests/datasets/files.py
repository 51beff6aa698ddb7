"""Small campaign files in the published forms, written by hand, and the city that they lie in."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.io import savemat

from rfloc.city import City
from rfloc.config import CityParams
from rfloc.datasets.nbiot import PLACES
from rfloc.frames import Grid, LocalFrame

FRAME = LocalFrame(41.8695, 12.4615)
MAT, CROP, TABLE = "rome/campaign.mat", "rome/crop.csv", "rome/cells.xlsx"

#: npci, eNodeB, MNC and position; the last two share a mast.
CELLS = [(33, 300064, 1, 41.8712, 12.4643), (34, 300064, 1, 41.8717, 12.4619), (35, 300064, 1, 41.8717, 12.4619)]


def city(box: tuple[float, float, float, float] = (41.86, 41.88, 12.45, 12.473), margin: float = 100.0) -> City:
    """A city without geometry: its box [deg], and a raster that reaches `margin` [m] past it."""
    params = CityParams(name="Rome", source="file", buildings="-", streets="-", box=list(box), margin=margin)
    x, y = FRAME.to_local([box[0], box[1]], [box[2], box[3]])
    grid = Grid.covering(x[0] - margin, y[0] - margin, x[1] + margin, y[1] + margin, 1.0)
    return City("home", params, FRAME, grid, xr.Dataset(), Path("nowhere"), {})


def matrices(n: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Positions (2,) and matrices (5, 9) of `n` locations: three cells, one without position, one not measured."""
    rng = np.random.default_rng(0)
    places, levels = [], []
    for i in range(n):
        nsinr, nrsrp, nrsrq = rng.uniform(-5, 20, 4), rng.uniform(-110, -70, 4), rng.uniform(-20, -5, 4)
        rf = np.column_stack([nrsrp - nrsrq, nsinr, nrsrp, nrsrq])
        rows = [[npci, enodeb, *rf[k], 100.0, mnc, 1 + i % 2] for k, (npci, enodeb, mnc, *_) in enumerate(CELLS)]
        rows.append([7, 1, *rf[3], np.nan if i == 0 else 5.0, 10, 1 + i % 2])  # nobody says where it stands
        rows.append([8, 1, *[np.nan] * 4, 5.0, 10, 1 + i % 2])  # detected, not measured
        places.append(np.array([41.865 + 1e-4 * i, 12.462 + 1e-4 * i]))
        levels.append(np.array(rows))
    return places, levels


def cell_array(places: list[np.ndarray], levels: list[np.ndarray]) -> np.ndarray:
    """What a .mat file holds: a row a location, 16 columns of which three are read."""
    cells = np.empty((len(places), 16), object)
    for i, (place, level) in enumerate(zip(places, levels, strict=True)):
        cells[i, 3:] = [np.zeros((1, 1))] * 13
        cells[i, :3] = [np.array([[place[0] + 4e-15]]), np.array([[place[1]]]), level]
    return cells


def write_mat(root: Path, n: int = 8, *, interpolated: bool = True, places: list[list[float]] | None = None) -> Path:
    """`root` with a .mat file of the form of Rome's, or (not interpolated) of Oslo's, with or without `places`."""
    (root / "rome").mkdir(parents=True, exist_ok=True)
    ues, levels = matrices(n)
    held = {"dataSet": cell_array(ues, levels)} | ({} if places is None else {PLACES: np.array(places)})
    if interpolated:  # what was not measured is filled in
        filled = [0, 0, -64.0, 5.0, -75.0, -11.0, 5.0, 0, 0]
        held["dataSet_interp"] = cell_array(ues, [np.where(np.isnan(level), filled, level) for level in levels])
    savemat(root / MAT, held)
    return root


def write_crop(root: Path, n: int = 8) -> Path:
    """`root` with the crop that belongs to :func:`write_mat`: the rows of the three cells, with their positions."""
    places, levels = matrices(n)
    rows = [[*levels[i][k, 2:6], *cell[3:], *places[i]] for i in range(n) for k, cell in enumerate(CELLS)]
    names = ["RSSI", "NSINR", "NRSRP", "NRSRQ", "BSLatitude", "BSLongitude", "UELatitude", "UELongitude"]
    pd.DataFrame(rows, columns=names).to_csv(root / CROP, index=False)
    return root


def cell_table(enodeb: str = "eNodeBID") -> pd.DataFrame:
    """A cell table of the three cells, ellipses 30 m x 40 m, in the columns of Rome's or Oslo's."""
    rows = [[f"NPCI:{npci} of it", e, lat, lon, 10.0, 30.0, 40.0, mnc, 1] for npci, e, mnc, lat, lon in CELLS]
    errors = ["PosErrorDirection", "PosErrorLambda1", "PosErrorLambda2"]
    return pd.DataFrame(rows, columns=["Name", enodeb, "Latitude", "Longitude", *errors, "MNC", "TowerID"])
