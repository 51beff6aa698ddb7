"""What an experiment trains on, and what chooses the pass that is kept, from what the pipeline built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import xarray as xr

from rfloc import schema
from rfloc.city import open_any
from rfloc.config import ExperimentParams
from rfloc.errors import TrainingError
from rfloc.splits import split_like
from rfloc.training.batches import Source

#: Links, raster and split whose UEs with role "val" choose the pass; None where no UE has it.
Validation = tuple[xr.Dataset, xr.Dataset, xr.Dataset]


def open_sources(build: Path, experiment: ExperimentParams, home: str) -> tuple[list[Source], Validation | None]:
    """The datasets of an experiment, and what chooses its pass: UEs of its own, measured only where it trains on such.

    Raises TrainingError where no dataset of that name was built.
    """
    split = schema.load(build / "splits" / f"{home}.zarr", "split")
    simulated = experiment.data != "A"
    opened: list[Source] = [(links, raster, split, simulated) for links, raster in _open(build, experiment.data, home)]
    return opened, open_validation(build, experiment.data, home)


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
