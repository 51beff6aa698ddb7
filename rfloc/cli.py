"""The command `rfloc`: doctor, fetch, params, inputs, run, repro, cost, seeds, book, verify."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rfloc import __version__, config
from rfloc.config import compose
from rfloc.doctor import report
from rfloc.errors import ConfigError, RFLocError, nearest
from rfloc.pipeline import inputs, record

#: Stations a city of B where they are measured, of which `rfloc cost` reads nothing: the paper's.
MEASURED_STATIONS = 19.0


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
    repro = command("repro", _repro, "run the pipeline as `dvc repro` does, some stages at once")
    repro.add_argument("--jobs", type=int, default=2, choices=range(1, 65), metavar="n", help="at once (default: 2)")
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


def _repro(args: argparse.Namespace) -> None:
    from rfloc.pipeline.repro import repro

    repro(config.project_root(), args.jobs)


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
        stations = asked.campaign.stations if asked.campaign.kind == "hidden" else MEASURED_STATIONS
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
    from rfloc.pipeline import expected

    root, params = _project()
    if args.expect:
        print(expected.expect(root, params.scale))
        return
    rows = expected.compared(root, params.scale)
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
    said = [expected.require_expected(rows), record.verify(root)]
    print("\n".join(said), file=sys.stderr if args.json else sys.stdout)
