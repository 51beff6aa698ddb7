"""The command `rfloc`: doctor, fetch, params, inputs, run, cost, seeds, book, verify.

`rfloc doctor` says what the project found on this machine, and for each missing thing the mend.
"""

import argparse
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from rfloc import __version__, backend, config
from rfloc.config import compose, require_composed
from rfloc.errors import ConfigError, RFLocError, nearest
from rfloc.pipeline import inputs, record


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error made on purpose prints what, why and mend and gives exit status 2."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except RFLocError as error:
        sys.stdout.flush()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rfloc", description="RF localization: commands around the pipeline.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], int | None], said: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=said)
        made.set_defaults(run=run)
        return made

    command("doctor", lambda args: report(), "say what was found on this machine, and how to mend the rest")
    fetch = command("fetch", _fetch, "fill data/ with published files, each checked by its SHA-256")
    fetch.add_argument("name", help="data set, e.g. rome")
    fetch.add_argument("--data-root", type=Path, help="folder that has the files (default: data.root, $RFLOC_DATA)")
    params = command("params", _params, "compose params.yaml from conf/")
    params.add_argument("--scale", default="demo", help="one of conf/scale (default: demo)")
    params.add_argument("overrides", nargs="*", metavar="key=value", help="as Hydra takes them, e.g. training.lr=1e-3")
    run = command("run", _run, "run a notebook with the parameters of params.yaml")
    run.add_argument("notebook", type=Path)
    run.add_argument("--out", type=Path, required=True, help="the executed notebook")
    run.add_argument("--stage", default="", help="name in the provenance (default: the stem of --out)")
    run.add_argument("-p", "--set", action="append", default=[], metavar="name=value", help="override one parameter")
    cost = command("cost", _cost, "say what B, C and training would cost at two scales")
    cost.add_argument("--scale", default="paper", help="beside that of params.yaml, one of conf/scale (default: paper)")
    cost.add_argument("--samples", type=_many, default=1_000_000, help="rays a station of the probe (default: 1000000)")
    asked = "link and hash the files outside of git that params.yaml names, for dvc"
    gather = command("inputs", lambda args: inputs.gather(config.project_root(), args.names), asked)
    gather.add_argument("names", nargs="*", metavar="name", help="maps/<city>, campaign, weights, oslo (default: all)")
    seeds = command("seeds", _seeds, "train the experiments from several seeds: how much of Table 1 is luck")
    of = "keys in `experiments`, or of an ablation (default: all)"
    seeds.add_argument("experiments", nargs="*", metavar="experiment", help=of)
    seeds.add_argument("--seeds", type=int, default=5, help="how many, from the project's seed on (default: 5)")
    command("book", _book, "build the book from what the pipeline made")
    verify = command("verify", _verify, "check that results/ is what the pipeline wrote, and what expected/ says")
    verify.add_argument("--json", action="store_true", help="print every number beside the paper's and the expected")
    verify.add_argument("--expect", action="store_true", help="write expected/<scale>.json from results/ as they are")
    return parser


def _many(text: str) -> int:
    if (value := int(text)) < 1000:
        raise ValueError
    return value


def _project() -> tuple[Path, config.Params]:
    root = config.project_root()
    return root, config.read(root / "params.yaml")


def _fetch(args: argparse.Namespace) -> None:
    from rfloc.datasets.measured import fetch

    root, params = _project()
    fetch(args.name, args.data_root or config.data_root(params.data, root), root / "data")


def _params(args: argparse.Namespace) -> None:
    scale = [] if any(o.startswith("scale=") for o in args.overrides) else [f"scale={args.scale}"]
    path = compose(config.project_root(), [*scale, *args.overrides])
    print(f"{path}: {', '.join([*scale, *args.overrides])}")


def _run(args: argparse.Namespace) -> None:
    from rfloc.pipeline.run import run

    run(args.notebook, args.out, stage=args.stage, given=args.set)


def _cost(args: argparse.Namespace) -> None:
    import pandas as pd

    from rfloc.city import open_city
    from rfloc.studies.cost import MFU, estimate, probe_city, sizes, training_costs

    root, params = _project()
    city = open_city(root / "build/cities" / params.synthetic.b_cities[0])
    with tempfile.TemporaryDirectory() as folder:
        other = config.read(compose(root, [f"scale={args.scale}"], Path(folder) / "params.yaml"))
    probe = probe_city(city.folder, params.simulation, params.radio, args.samples, params.seed)
    costs, scales = {}, {params.scale: params, args.scale: other}
    for scale, asked in scales.items():
        # Of measured stations nothing is read: the paper's number.
        stations = asked.campaign.stations if asked.campaign.kind == "hidden" else 19.0
        costs[scale] = estimate(sizes(asked, stations), asked.engine, probe)
    print(f"one worker in {probe.name}:\n{probe.round(3).to_string()}\n")
    print(pd.concat(costs).to_string(float_format="{:,.1f}".format, sparsify=False))
    training = pd.concat({scale: training_costs(asked) for scale, asked in scales.items()})
    said = training.to_string(float_format="{:,.3g}".format, sparsify=False)
    print(f"\ntraining, hours of A100s at their peak and at {MFU:.0%} of it:\n{said}")


def _seeds(args: argparse.Namespace) -> None:
    from rfloc.files import load_json, save_json
    from rfloc.studies.seeds import ablations, seeds_study

    root, params = _project()
    known = params.experiments | ablations(params.experiments)
    if unknown := [key for key in args.experiments if key not in known]:
        raise ConfigError(f"there is no experiment {unknown[0]!r}", "", nearest(unknown[0], known))
    path = root / "results" / params.scale / "seeds.json"
    held = load_json(path) if path.is_file() else {}
    held |= seeds_study(root / "build", params, args.experiments or list(known), args.seeds)
    print(save_json({key: held[key] for key in known if key in held}, path))


def _book(args: argparse.Namespace) -> None:
    from rfloc.pipeline.book import build_book

    print(f"first page: {build_book(config.project_root()) / 'index.html'}")


def _verify(args: argparse.Namespace) -> None:
    from rfloc.pipeline import book

    root, params = _project()
    if args.expect:
        print(book.expect(root, params.scale))
        return
    rows = book.compared(root, params.scale)
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
    said = [book.require_expected(rows), record.verify(root)]
    print("\n".join(said), file=sys.stderr if args.json else sys.stdout)


#: Free space that a run at scale demo and its environment want [GiB].
DISK = 5
#: Programs by the names that they go by, the mend where there is none, and whether the demo needs it.
PROGRAMS = (
    ("rfloc", "source .venv/bin/activate (stages are started by that name)", True),
    ("git", "apt-get install git (DVC needs it)", True),
    ("chromium chromium-browser google-chrome chrome", "apt-get install chromium (to check pages)", False),
)


class Finding(NamedTuple):
    """One line of the report; without a `mend` all is well, and `needed` says whether the demo needs it."""

    name: str
    found: str
    mend: str = ""
    needed: bool = True


def findings() -> Iterator[Finding]:
    """Everything the report says, most basic first."""
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    facts = backend.describe()
    problem, _, mend = facts.get("problem", "").partition("mend:")
    tracer = " ".join(str(facts[key]) for key in ("backend", "llvm", "library") if facts.get(key))
    mend = (mend.strip() or "make setup") if problem else ""
    yield Finding("ray tracing", problem.partition("\n")[0] or tracer, mend)
    for package in ("sionna-rt", "mitsuba", "torch", "jupyter-book", "papermill", "dvc"):
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, "not installed", "make setup")
    pip = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    yield Finding("packages", pip.stdout.strip().partition("\n")[0], "make setup" if pip.returncode else "")
    if importlib.util.find_spec("torch"):
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: training runs on the CPU"
        yield Finding("GPU for training", gpu)
    for names, mend, needed in PROGRAMS:
        found = next(filter(None, map(shutil.which, names.split())), None)
        yield Finding(names.split()[0], found or "not found", "" if found else mend, needed)
    try:
        yield from _found_in(config.project_root())
    except ConfigError as error:
        yield Finding("project", error.what, error.mend)


def _found_in(root: Path) -> Iterator[Finding]:
    """The project folder, its parameters, and the files that it does not hold."""
    yield Finding("git repository", str(root), "" if (root / ".git").exists() else record.NO_GIT)
    free = shutil.disk_usage(root).free / 2**30
    mend = "" if free > DISK else f"free {DISK} GiB: scale demo fills half of it"
    yield Finding("disk", f"{free:.0f} GiB free", mend)
    params = config.read(root / "params.yaml")
    yield Finding("project", f"{root}, scale {params.scale}")
    try:
        require_composed(root)
        yield Finding("params.yaml", "as conf/ composes it, or set by hand")
    except ConfigError as error:
        yield Finding("params.yaml", error.what, error.mend)
    rome, weights = config.data_root(params.data, root) / "rome", config.weights_root(params.data)
    for name, folder, mend in (
        ("Rome data", rome, "set data.root or RFLOC_DATA, or `rfloc fetch rome`"),
        ("weights", weights, "set data.weights or RFLOC_WEIGHTS (pretrained DINOv2 only)"),
    ):
        there = folder is not None and folder.is_dir() and any(folder.iterdir())
        yield Finding(name, str(folder) if there else f"nothing at {folder}", "" if there else mend, needed=False)
    maps = [f"maps/{key}" for key, city in params.cities.items() if city.source == "file"]
    for name in (*maps, "campaign", "weights"):
        try:
            held = inputs.hashes(name, params, root)
            yield Finding(f"files: {name}", ", ".join(f"{file} {said[7:15]}" for file, said in held.items()) or "none")
        except RFLocError as error:
            yield Finding(f"files: {name}", error.what, error.mend)


def report() -> int:
    """Print the findings; 0 if scale demo can run here, else 1."""
    lines = list(findings())
    width = max(len(line.name) for line in lines)
    for line in lines:
        mark = "ok  " if not line.mend else ("MEND" if line.needed else "    ")
        print(f"{mark} {line.name:{width}}  {line.found}")
        if line.mend:
            print(f"     {'':{width}}  -> {line.mend}")
    missing = [line.name for line in lines if line.needed and line.mend]
    print(f"The demo cannot run before this is mended: {', '.join(missing)}." if missing else "The demo can run here.")
    return 1 if missing else 0
