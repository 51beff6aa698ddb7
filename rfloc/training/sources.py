"""What an experiment trains on, and what chooses the pass that is kept, from what the pipeline built."""

from collections.abc import Iterator
from pathlib import Path

import xarray as xr

from rfloc import schema
from rfloc.city import open_any, open_city
from rfloc.config import Params
from rfloc.errors import TrainingError
from rfloc.splits import split_like
from rfloc.training.batches import Source

#: Links, raster and split whose UEs with role "val" choose the pass; None where no UE has it.
Validation = tuple[xr.Dataset, xr.Dataset, xr.Dataset]


def open_sources(build: Path, params: Params, key: str) -> tuple[list[Source], Validation | None]:
    """The datasets of an experiment, and what chooses its pass: UEs of its own, measured only where it trains on such.

    Measured links are as the experiment is :func:`told`. Raises TrainingError where no dataset of that name was built.
    """
    home, data = params.campaign.cities[0], params.experiments[key].data
    if data == "oslo":
        oslo = open_oslo(build)
        return [(*oslo, False)], oslo
    split = schema.load(build / "splits" / f"{home}.zarr", "split")
    val, measured = open_validation(build, data, home), data == "A"
    opened = _open(build, data, home)
    if measured:
        val = None if val is None else (told(build, params, key, val[0]), *val[1:])
        opened = ((told(build, params, key, links), raster) for links, raster in opened)
    return [(links, raster, split, not measured) for links, raster in opened], val


def open_oslo(build: Path) -> Validation:
    """Links, raster and split of the paper's second city (raises DataError where its measurements were not at hand)."""
    folder = build / "links/oslo"
    links = schema.load(folder / "oslo.zarr", "links")
    return links, open_city(folder / "city").raster, schema.load(folder / "split.zarr", "split")


def told(build: Path, params: Params, key: str, links: xr.Dataset) -> xr.Dataset:
    """Measured links with the azimuths that an experiment is told, in training and when it is asked.

    One that trains on B' at any stage knows those of B', calibrated on training UEs; every other, and every one in
    another city than the campaign's first, what the table states. Raises SchemaError where B' has other stations.
    """
    while key != "init" and links.attrs["city"] == params.campaign.cities[0]:
        if params.experiments[key].data == "Bp":
            calibrated = schema.load(build / "links/Bp" / f"{links.attrs['city']}.zarr", "links")
            schema.require_same_stations(links, calibrated, "the calibrated links")
            return links.assign_coords(bs_azimuth=links["bs_azimuth"].copy(data=calibrated["bs_azimuth"].values))
        key = params.experiments[key].start
    return links


def open_targets(build: Path, params: Params, key: str) -> list[Source]:
    """What an experiment adapts to without knowing where its UEs are: measurements on training streets, or nothing."""
    home, data = params.campaign.cities[0], params.experiments[key].adapt
    if data is None:
        return []
    split = schema.load(build / "splits" / f"{home}.zarr", "split")
    return [(told(build, params, key, links), raster, split, False) for links, raster in _open(build, data, home)]


def open_validation(build: Path, data: str, home: str) -> Validation | None:
    """The UEs of a dataset in its home city that stand in validation blocks."""
    split = schema.load(build / "splits" / f"{home}.zarr", "split")
    for links, raster in _open(build, data, home):
        if links.attrs["city"] == home:
            own = split if data == "A" else split_like(split, links)
            if (own["role"] == "val").any():
                return links, raster, own
    return None


def _open(build: Path, data: str, home: str) -> Iterator[tuple[xr.Dataset, xr.Dataset]]:
    """Links and raster of the parts of a dataset; measurements of other cities are for tests alone."""
    folder = build / "links" / data
    files = [folder / f"{home}.zarr"] if data == "A" else sorted(folder.glob("*.zarr"))
    if not files:
        raise TrainingError(
            f"there is no dataset {data} in {folder}",
            "an experiment was to be trained or judged on it",
            "run `dvc repro`, whose stages make datasets before they train",
        )
    for file in files:
        links = schema.load(file, "links")
        yield links, open_any(build, links.attrs["city"]).raster
