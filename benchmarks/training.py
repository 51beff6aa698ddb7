"""What training costs: crops, steps, and what a neighbour on the machine takes away.

`python benchmarks/training.py` takes a few minutes on two cores and writes results/benchmarks/training.json; `--quick`
asks the same of fewer crops. The last line is a JSON object of the figures.

Crops: those that training draws, cuts and augments, against the released formulation, which keeps a JSON and an NPZ
file a crop and, item by item, reads both and resizes the map of 601 x 601 cells with scikit-image's filter. Both on one
core, in the core's own seconds; a machine's other work disturbs some repeats, so that the fastest of each counts.

Steps: the network of scale `demo` as it is trained (eager, float32, one thread that sleeps while it waits), against the
same steps as PyTorch takes them by itself: on all cores, with threads that spin. Neighbours are as many busy processes
as there are cores: beside n of them on n cores a fair share of one thread is n / (n + 1) of a core, so that its rate
alone is (n + 1) / n times that beside them (`neighbour_ratio` against `fair_ratio`). MFU is against the FLOP/s of a
product of two 1024 x 1024 matrices on the same threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
import torch
import xarray as xr
from scipy import ndimage
from torch.utils.flop_counter import FlopCounterMode

import rfloc  # noqa: F401 - before torch: it says how threads wait
from benchmarks.defaults import section
from rfloc.config import CropParams, ExperimentParams, ModelParams, TrainingParams, project_root
from rfloc.files import save_json
from rfloc.frames import Grid, LocalFrame
from rfloc.localizers.networks import build_network, predict
from rfloc.pipeline.record import revision_of
from rfloc.schema import FEATURES, links_dataset, validate, with_units
from rfloc.training.batches import CropSource, TrainingSteps
from rfloc.training.module import LocalizerModule, heatmap_loss

CROPS, MODEL, TRAINING = section(CropParams), section(ModelParams), section(TrainingParams)
FRAME, EDGE = LocalFrame(48.1, 11.6), 1500

#: Edge of a crop as it is published [m], a cell a metre.
RELEASED = 601


def source(crops: CropParams = CROPS) -> CropSource:
    """2,000 UEs and 20 stations by a law of distance, on a square of random blocks."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.random((EDGE // 30, EDGE // 30)) < 0.4, np.ones((30, 30)))
    cells = {"building": blocks.astype(np.uint8), "road": (blocks == 0).astype(np.uint8), "height": 15.0 * blocks}
    grid = Grid(-EDGE / 2, -EDGE / 2, 1.0, EDGE, EDGE)
    raster = xr.Dataset({k: (("y", "x"), v) for k, v in cells.items()}, attrs=FRAME.to_attrs() | grid.to_attrs())
    ue, bs = rng.uniform(-500, 500, (2, 2000)), rng.uniform(-600, 600, (2, 20))
    level = -20 - 35 * np.log10(np.hypot(*(ue[:, :, None] - bs[:, None])).clip(10))
    level += rng.normal(0, 6, level.shape)
    features = {"nrsrp": level, "rssi": level + 27, "nsinr": level + 100, "nrsrq": 0 * level - 11}
    station = {"x": bs[0], "y": bs[1], "h": np.full(20, 30.0), "azimuth": np.full(20, np.nan)}
    station |= {"power": np.full(20, 43.0), "id": np.array([str(k) for k in range(20)])}
    about = {"source": "a law of distance", "city": "home", "carrier_hz": 0.8e9}
    links = links_dataset(features, {"x": ue[0], "y": ue[1]}, station, FRAME, **about)
    return CropSource((links, validate(with_units(raster, "raster"), "raster"), None, True), crops, 0)


def steps(crops: CropSource, n: int) -> TrainingSteps:
    """Batches 0 to n - 1 of a run."""
    return TrainingSteps([crops], TRAINING, TRAINING.batch_size, 0, range(n))


def resized(cells: np.ndarray, pixels: int) -> np.ndarray:
    """Cells (n, n) as `skimage.transform.resize` pools them into (pixels, pixels): a Gaussian filter, then linear."""
    factor = len(cells) / pixels
    blurred = ndimage.gaussian_filter(cells / 255, (factor - 1) / 2, mode="mirror")
    return ndimage.zoom(blurred, 1 / factor, order=1, mode="mirror", grid_mode=True)


def write_crops(folder: Path) -> int:
    """Crops of a batch as the released code keeps them, a JSON of UE and stations and an NPZ of two layers each."""
    published = section(CropParams, size=RELEASED, pixels=RELEASED)
    drawn = steps(source(published), 1).numpy_batch(0)
    for k in range(len(drawn)):
        np.savez_compressed(folder / f"{k}.npz", image=np.moveaxis(255 * drawn.image[k], 0, -1).astype(np.uint8))
        stations = [
            {"npci": int(i), "proj_map_pos": xy.tolist(), "measurements": dict(zip(FEATURES, rf.tolist(), strict=True))}
            for i, xy, rf in zip(drawn.bs_index[k], drawn.bs_xy[k], drawn.rf[k], strict=True)
        ]
        about = {"center_coord": drawn.centre[k].tolist(), "half_square_size_meters": RELEASED / 2}
        about |= {"UE": {"proj_map_pos": drawn.target_xy[k].tolist()}, "BaseStations": stations}
        (folder / f"{k}.json").write_text(json.dumps(about))
    return len(drawn)


def read_crop(folder: Path, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Map, stations and UE of a crop that :func:`write_crops` wrote, as the released code reads them."""
    about = json.loads((folder / f"{k}.json").read_text())
    with np.load(folder / f"{k}.npz") as held:
        image = torch.as_tensor(resized(held["image"][..., 0], CROPS.pixels), dtype=torch.float32)
    stations = [[*one["proj_map_pos"], *one["measurements"].values()] for one in about["BaseStations"]]
    return image.expand(2, -1, -1), torch.tensor(stations), torch.tensor(about["UE"]["proj_map_pos"])


def fastest(what: Callable[[int], Any], n: int) -> float:
    """Seconds that this process computes for the fastest of what(0) … what(n - 1)."""
    spent = []
    for k in range(n):
        start = time.process_time()
        what(k)
        spent.append(time.process_time() - start)
    return min(spent)


def crop_rates(crops: CropSource, n: int) -> dict[str, float]:
    """Crops a second of one core: drawn, cut, augmented as in training; and read from a JSON and an NPZ file each."""
    batches = steps(crops, n // TRAINING.batch_size)
    ours = TRAINING.batch_size / fastest(lambda k: batches[k], len(batches))
    with tempfile.TemporaryDirectory() as folder:
        kept = write_crops(Path(folder))
        theirs = 1 / fastest(lambda k: read_crop(Path(folder), k % kept), len(batches))
    return {"ours": ours, "released": theirs}


def step_rate(seconds: float, threads: int) -> dict[str, float]:
    """Crops a second of forward, backward and optimiser at fixed batches, and FLOP of a step."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    experiment = ExperimentParams(label="B", start="init", data="B", samples=3200)
    network = build_network("map_radioformer", MODEL, CROPS)
    module = LocalizerModule(network, experiment, TRAINING)
    optimizer = module.configure_optimizers()["optimizer"]
    drawn = steps(source(), 4)
    batches = [drawn[k] for k in range(4)]

    def step(k: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        heatmap_loss(predict(network, batches[k % 4]), batches[k % 4]["target"], TRAINING.loss).backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counted:
        step(0)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step(done)
        done += 1
    rate = done / (time.perf_counter() - start)
    a = torch.rand(1024, 1024)
    a @ a
    start = time.perf_counter()
    for _ in range(20):
        a @ a
    peak = 20 * 2 * 1024**3 / (time.perf_counter() - start)
    flops = rate * counted.get_total_flops()
    return {"crops_per_s": rate * TRAINING.batch_size, "gflop_per_s": flops / 1e9, "peak_gflop_per_s": peak / 1e9}


def elsewhere(seconds: float, threads: int, policy: str, neighbours: int) -> dict[str, float]:
    """:func:`step_rate` in a process of its own, beside so many busy ones."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
    try:
        command = [sys.executable, __file__, "--step", str(seconds), "--threads", str(threads)]
        env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"OMP_WAIT_POLICY": policy}
        said = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    finally:
        for one in busy:
            one.kill()
            one.wait()
    return json.loads(said.splitlines()[-1])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer crops, under a minute on an idle machine")
    parser.add_argument("--output", type=Path, default=project_root() / "results" / "benchmarks" / "training.json")
    parser.add_argument("--step", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.step:
        print(json.dumps(step_rate(args.step, args.threads)))
        return
    cores, seconds = os.cpu_count() or 1, 4.0 if args.quick else 15.0
    load = os.getloadavg()[0]  # of others: nothing has run yet
    torch.set_num_threads(1)
    crops = crop_rates(source(), 1_000 if args.quick else 10_000)
    rates = {
        f"{name}{' beside neighbours' if n else ''}": elsewhere(seconds, threads, policy, n)
        for n in (0, cores)
        for name, threads, policy in (("ours", 1, "PASSIVE"), ("by itself", cores, "ACTIVE"))
    }
    ours, beside = rates["ours"], rates["ours beside neighbours"]
    figures: dict[str, Any] = {
        "crops_ratio": crops["ours"] / crops["released"],
        "crops_per_second_per_core": crops["ours"],
        "step_ratio": ours["crops_per_s"] / rates["by itself"]["crops_per_s"],
        "step_ratio_beside_neighbours": beside["crops_per_s"] / rates["by itself beside neighbours"]["crops_per_s"],
        "neighbour_ratio": ours["crops_per_s"] / beside["crops_per_s"],
        "fair_ratio": (cores + 1) / cores,
        "device": "cpu",
        "precision": "float32",
        "mfu": ours["gflop_per_s"] / ours["peak_gflop_per_s"],
    }
    revision, dirty = revision_of(project_root())
    machine = {"cores": cores, "load": load, "torch": torch.__version__, "numpy": np.__version__}
    about = {"crops": crops, "steps": rates, "machine": machine, "revision": {"commit": revision, "dirty": dirty}}
    save_json(rounded(figures | about), args.output)
    print(json.dumps(rounded(figures)))


def rounded(value: Any) -> Any:
    """Numbers to four digits, also inside dictionaries."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
