"""The store of a simulation campaign, which no finished shard is ever lost from."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs
from numpy.typing import NDArray

from rfloc.errors import SimulationError
from rfloc.simulation.shards import Part, Shard, describe, differences, files_digest, shards, ues_a_shard

#: Arrays of a part in the order in which a shard's chunks are written: the last one says that the shard is finished.
ARRAYS = ("gain_error", "path_gain")

_MEND = "delete it to compute the campaign anew, name another store, or take back the change"


@dataclass(frozen=True)
class Store:
    """A group of Zarr with a group a part.

    Every part has `gain_error` and `path_gain` (bs, ue) float32, chunks = shards. Chunks appear whole or not at all,
    whenever their writer dies, and equal shards are equal bytes: any number of runs may fill one store.

    Parameters
    ----------
    root : Path
        Its folder.
    plan : dict
        What it holds, see :func:`describe`.
    """

    root: Path
    plan: dict[str, Any]

    @classmethod
    def open(cls, root: str | Path) -> Store:
        """The store in a folder (raises SimulationError where there is none)."""
        root = Path(root).resolve()
        try:
            plan: Any = dict(zarr.open_group(root, mode="r").attrs)["campaign"]
            return cls(root, plan)
        except (FileNotFoundError, KeyError):
            raise SimulationError(
                f"{root} holds no campaign", "there is no group of Zarr whose attributes name a plan", "run a campaign"
            ) from None

    @classmethod
    def make(cls, root: str | Path, parts: Sequence[Part], shard_links: int) -> Store:
        """The store of a plan, made where there is nothing.

        Raises
        ------
        SimulationError
            If something else is there, the store of another plan or no store, which is left alone, or none can be made.
        """
        root, plan = Path(root), describe(parts, shard_links)
        if not root.exists():
            try:
                root.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as folder:
                    _make(Path(folder) / "store", parts, plan)
                    (Path(folder) / "store").rename(root)
            except OSError as error:
                if not root.exists():  # else another run made it meanwhile
                    raise SimulationError(
                        f"the store {root} cannot be made", str(error), "make room there, or name another place"
                    ) from error
        store = cls.open(root)
        store._require(plan, store.plan)
        return store

    def unfinished(self, part: Part) -> list[tuple[int, list[Shard]]]:
        """Stations of a part, by number, with those of their shards that are not finished."""
        left = (shard for shard in shards(part, self.plan["shard_links"]) if not self.finished(shard))
        return [(k, list(todo)) for k, todo in itertools.groupby(left, key=lambda shard: shard.station)]

    def finished(self, shard: Shard) -> bool:
        """Whether both chunks of a shard are there."""
        return all(self._chunk(shard, array).is_file() for array in ARRAYS)

    def write(self, shard: Shard, path_gain: NDArray[np.floating], gain_error: NDArray[np.floating]) -> None:
        """Write a shard's gains (linear) and their errors [dB], each of shape (ue,) (raises OSError)."""
        for name, values in zip(ARRAYS, (gain_error, path_gain), strict=True):
            array = zarr.open_array(self.root / shard.part / name, mode="r+").with_config({"write_empty_chunks": True})
            chunk = self._chunk(shard, name)
            for left in chunk.parent.glob(f"{chunk.name}.*.partial"):  # by a writer that was killed
                left.unlink(missing_ok=True)
            row, ues = shard.station, slice(shard.start, shard.stop)
            try:
                array[row, ues] = values
            except FileNotFoundError:  # another run, at the same chunk at the same moment, took ours for such a one
                array[row, ues] = values

    def read(self, part: Part) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gains (linear) and errors [dB] of a part, each of shape (ue, bs).

        Raises
        ------
        SimulationError
            If the store has another part under its name, or shards of it are missing or damaged.
        """
        name = part.name
        self._require({name: part.describe(files_digest(part.city))}, {name: self.plan["parts"].get(name)})
        missing = [shard for _, todo in self.unfinished(part) for shard in todo]
        if missing:
            raise SimulationError(
                f"{missing[0]} of {self.root} is not finished, and {len(missing) - 1} others of its part",
                "the campaign was interrupted",
                "run it again: it goes on where it stopped",
            )
        try:
            error, gain = (np.asarray(zarr.open_array(self.root / name / array, mode="r")[:]) for array in ARRAYS)
        except (RuntimeError, ValueError) as cause:
            raise SimulationError(f"part {name!r} of {self.root} is damaged", str(cause), _MEND) from cause
        return gain.T, error.T

    def _require(self, plan: dict[str, Any], found: dict[str, Any]) -> None:
        changes = list(differences(found, plan))
        if changes:
            more = f" and {len(changes) - 4} more" if len(changes) > 4 else ""
            raise SimulationError(
                f"{self.root} belongs to another campaign: {'; '.join(changes[:4])}{more}",
                "links of two plans must not mix",
                _MEND,
            )

    def _chunk(self, shard: Shard, array: str) -> Path:
        return self.root / shard.part / array / "c" / str(shard.station) / str(shard.block)


def _make(folder: Path, parts: Sequence[Part], plan: dict[str, Any]) -> None:
    """Write the empty store of a plan."""
    root = zarr.open_group(folder, mode="w", zarr_format=3, attributes={"campaign": plan})
    for part in parts:
        group = root.create_group(part.name)
        for name, units in zip(ARRAYS, ("dB", "1"), strict=True):
            group.create_array(
                name,
                shape=(part.stations.n, part.ue_x.size),
                chunks=(1, ues_a_shard(part.ue_x.size, plan["shard_links"])),
                dtype="float32",
                fill_value=np.nan,
                dimension_names=("bs", "ue"),
                attributes={"units": units},
                compressors=zarr.codecs.ZstdCodec(checksum=True),
                chunk_key_encoding={"name": "default", "separator": "/"},
            )
