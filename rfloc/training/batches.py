"""What an experiment trains on and what chooses the pass that is kept, from what the pipeline built; training crops.

Crops are drawn and augmented on the fly: batch k of a run depends on the seed and k, on nothing else.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from torch import Tensor
from torch.utils.data import Dataset

from rfloc import schema
from rfloc.arrays import Bools, Floats
from rfloc.city import open_any, open_city
from rfloc.config import CropParams, Params, TrainingParams
from rfloc.crops import Batch, CropBatcher, evaluation_crops
from rfloc.errors import TrainingError
from rfloc.frames import LocalFrame
from rfloc.localizers.networks import as_tensors
from rfloc.splits import crosses, in_frame_of, made_for, roles_by_area, split_like

#: A dataset to train on: links, raster of its city, split (None: every UE trains), whether its features are simulated.
Source = tuple[xr.Dataset, xr.Dataset, xr.Dataset | None, bool]
#: Links, raster and split whose UEs with role "val" choose the pass; None where no UE has it.
Validation = tuple[xr.Dataset, xr.Dataset, xr.Dataset]
#: Share of the noise's variance that a station's features have in common, as shadowing moves all of them.
COMMON = 0.75


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
    if data in (None, "oslo"):
        return [(*open_oslo(build), False)] if data else []
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


def training_ues(links: xr.Dataset, split: xr.Dataset) -> Bools:
    """Which UEs may be trained on, (n_ue,): those with role "train", by area where the split is of other links."""
    if made_for(split, links):
        return np.asarray(split["role"].values == "train")
    return roles_by_area(split, LocalFrame.from_attrs(links.attrs), links["ue_x"], links["ue_y"]) == "train"


class CropSource:
    """Crops of training UEs that keep the split's `crop_gap`; `seed` seeks UEs that have one (else TrainingError)."""

    def __init__(self, source: Source, crops: CropParams, seed: int) -> None:
        links, raster, split, self.simulated = source
        self.split, self.frame = split, LocalFrame.from_attrs(links.attrs)
        self.batcher = CropBatcher(links, raster, crops)
        ues = np.arange(links.sizes["ue"]) if split is None else np.flatnonzero(training_ues(links, split))
        *_, found = self.batcher.eligible(ues, np.random.default_rng(seed), self._allowed)
        self.ues = ues[found]
        if not len(self.ues):
            raise TrainingError(
                f"no UE of {links.attrs['city']!r} can be trained on",
                f"none of its {links.sizes['ue']} both trains and hears {crops.min_heard} stations in a crop",
                "check the split's shares and buffer, lower crops.min_heard, or add UEs",
            )

    def _allowed(self, x: Floats, y: Floats, size: Floats) -> Bools:
        if self.split is None:
            return np.ones(len(x), bool)
        return ~crosses(self.split, *in_frame_of(self.split, self.frame, x, y), size)

    def draw(self, n: int, flips: bool, rng: np.random.Generator) -> Batch:
        """A batch of `n` crops of UEs drawn with replacement, each with `min_heard` stations inside."""
        ue = rng.choice(self.ues, n)
        x, y, size, found = self.batcher.eligible(ue, rng, self._allowed)
        while len(again := np.flatnonzero(~found)):  # each UE has an eligible crop, and is likely to find one
            ue[again] = rng.choice(self.ues, again.size)
            x[again], y[again], size[again], found[again] = self.batcher.eligible(ue[again], rng, self._allowed)
        turned = {"flip": rng.random(n) < 0.5, "turns": rng.integers(0, 4, n)} if flips else {}
        return self.batcher.batch(ue, x, y, size=size, **turned)


def augment(batch: Batch, noisy: Bools, training: TrainingParams, min_heard: int, rng: np.random.Generator) -> Batch:
    """Add noise of `noise_db` to the features of crops that are `noisy`, bool (B,), and drop stations of all.

    Each crop draws a share up to `dropout_bs` and drops each station with that chance; the `min_heard` strongest stay.
    """
    common = rng.standard_normal((*batch.rf.shape[:2], 1)) * np.sqrt(COMMON)
    own = rng.standard_normal(batch.rf.shape) * np.sqrt(1 - COMMON)
    rf = batch.rf + (training.noise_db * noisy[:, None, None] * (common + own)).astype(np.float32)
    share = rng.uniform(0, training.dropout_bs, (len(batch), 1))
    keep = rng.random(batch.bs_mask.shape) >= share
    keep[:, :min_heard] = True
    bs_mask = batch.bs_mask & keep
    rf_mask = batch.rf_mask & bs_mask[..., None]
    return dataclasses.replace(batch, rf=np.where(rf_mask, rf, np.float32(0)), rf_mask=rf_mask, bs_mask=bs_mask)


@dataclasses.dataclass
class TrainingSteps(Dataset[dict[str, Tensor]]):
    """The batches `numbers` of a run as tensors; a crop's dataset is drawn in proportion to the UEs that it offers."""

    sources: Sequence[CropSource]
    training: TrainingParams
    batch_size: int
    seed: int
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return as_tensors(self.numpy_batch(self.numbers[index]))

    def numpy_batch(self, number: int) -> Batch:
        """Batch `number` of the run, as arrays."""
        rng = np.random.default_rng([self.seed, number])
        ues = np.array([len(source.ues) for source in self.sources])
        share = rng.multinomial(self.batch_size, ues / ues.sum())
        drawn = [s.draw(int(n), self.training.flips, rng) for s, n in zip(self.sources, share, strict=True) if n]
        noisy = np.repeat([source.simulated for source in self.sources], share)
        joined = Batch(*map(np.concatenate, zip(*(vars(batch).values() for batch in drawn), strict=True)))
        return augment(joined, noisy, self.training, self.sources[0].batcher.crops.min_heard, rng)


class ValidationSteps(Dataset[dict[str, Tensor]]):
    """Fixed crops of the UEs with role "val", as tensors (SplitError where none has one); `seed` is of the centres."""

    def __init__(
        self, links: xr.Dataset, raster: xr.Dataset, split: xr.Dataset, crops: CropParams, batch_size: int, seed: int
    ) -> None:
        self.batcher = CropBatcher(links, raster, crops)
        self.crops = evaluation_crops(links, split, crops, roles=("val",), seed=seed)
        self.starts = range(0, self.crops.sizes["sample"], batch_size)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        start = self.starts[index]
        part = self.crops.isel(sample=slice(start, start + self.starts.step))
        return as_tensors(self.batcher.batch(part["ue"].values, part["crop_x"].values, part["crop_y"].values))
