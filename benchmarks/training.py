"""What training costs: crops, steps, and what a neighbour on the machine takes away.

`python benchmarks/training.py` takes a few minutes on two cores and writes results/benchmarks/training.json; `--quick`
asks the same of fewer crops. Crops: those that training draws, against the released formulation, which reads a JSON and
an NPZ file a crop and resizes the image. Steps: the network of scale `demo` as it is trained, against the same steps as
PyTorch takes them by itself: on all cores, with threads that spin while they wait. The neighbours are as many processes
as there are cores, each busy: beside n of them on n cores a fair share of one thread is n / (n + 1) of a core. MFU is
against a matrix product's FLOP/s on the same threads. The last line is a JSON object of the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

import rfloc  # noqa: F401 - before torch: it says how threads wait
from benchmarks.defaults import section
from rfloc.config import CropParams, ExperimentParams, ModelParams, TrainingParams, project_root
from rfloc.files import save_json
from rfloc.frames import Grid, LocalFrame
from rfloc.localizers.networks import build_network, predict
from rfloc.pipeline.record import revision_of
from rfloc.schema import links_dataset, validate, with_units
from rfloc.training.batches import CropSource, TrainingSteps
from rfloc.training.module import LocalizerModule, heatmap_loss

CROPS, MODEL, TRAINING = section(CropParams), section(ModelParams), section(TrainingParams)
FRAME, EDGE = LocalFrame(48.1, 11.6), 1500


def source() -> CropSource:
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
    return CropSource((links, validate(with_units(raster, "raster"), "raster"), None, True), CROPS, 0)


def steps(crops: CropSource, n: int) -> TrainingSteps:
    """Batches 0 to n - 1 of a run."""
    return TrainingSteps([crops], CROPS, TRAINING, TRAINING.batch_size, 0, range(n))


def crop_rates(crops: CropSource, n: int) -> dict[str, float]:
    """Crops a second of one core: drawn, cut, augmented as in training; and read from a JSON and an NPZ file each."""
    batches = steps(crops, n // TRAINING.batch_size)
    batches[0]
    start = time.process_time()
    for k in range(len(batches)):
        batches[k]
    ours = len(batches) * TRAINING.batch_size / (time.process_time() - start)
    few = min(n, 128)
    with tempfile.TemporaryDirectory() as folder:
        edge = int(CROPS.size)
        batch = batches.numpy_batch(0)
        for k in range(few):
            image = (np.random.default_rng(k).random((2, edge, edge)) < 0.3).astype(np.uint8)
            np.savez_compressed(f"{folder}/{k}.npz", image=image)
            station = {"xy": batch.bs_xy[0].tolist(), "rf": batch.rf[0].tolist(), "target": batch.target_xy[0].tolist()}
            Path(f"{folder}/{k}.json").write_text(json.dumps(station))
        start = time.process_time()
        for k in range(few):
            read = json.loads(Path(f"{folder}/{k}.json").read_text())
            with np.load(f"{folder}/{k}.npz") as held:
                image = torch.as_tensor(held["image"], dtype=torch.float32)
            torch.nn.functional.interpolate(image[None], size=(CROPS.pixels,) * 2, mode="bilinear", antialias=True)
            torch.tensor(read["xy"]), torch.tensor(read["rf"])
        theirs = few / (time.process_time() - start)
    return {"ours": ours, "released": theirs}


def step_rate(seconds: float, threads: int) -> dict[str, float]:
    """Crops a second of forward, backward and optimiser at fixed batches, and FLOP of a step."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    experiment = ExperimentParams(label="B", start="init", data="B", samples=3200)
    network = build_network("map_radioformer", MODEL, CROPS)
    module = LocalizerModule(network, experiment, TRAINING, CROPS)
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
    return {"crops_per_s": rate * TRAINING.batch_size, "mfu": rate * counted.get_total_flops() / peak}


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
    torch.set_num_threads(1)
    crops = crop_rates(source(), 1_000 if args.quick else 10_000)
    rates = {
        f"{name}{' beside neighbours' if n else ''}": elsewhere(seconds, threads, policy, n)
        for n in (0, cores)
        for name, threads, policy in (("ours", 1, "PASSIVE"), ("by itself", cores, "ACTIVE"))
    }
    alone, beside = rates["ours"]["crops_per_s"], rates["ours beside neighbours"]["crops_per_s"]
    figures: dict[str, Any] = {
        "crops_ratio": crops["ours"] / crops["released"],
        "crops_per_second_per_core": crops["ours"],
        "step_ratio": alone / rates["by itself"]["crops_per_s"],
        "step_ratio_beside_neighbours": beside / rates["by itself beside neighbours"]["crops_per_s"],
        "share_beside_neighbours": beside / alone,
        "fair_share": cores / (cores + 1),
        "device": "cpu",
        "precision": "float32",
        "mfu": rates["ours"]["mfu"],
    }
    figures = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    revision, dirty = revision_of(project_root())
    about = {"crops": crops, "steps": rates, "cores": cores, "revision": {"commit": revision, "dirty": dirty}}
    save_json(figures | about, args.output)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
