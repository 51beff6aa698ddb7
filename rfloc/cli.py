"""The command `rfloc`: doctor, fetch, params, run, cost, book, verify."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rfloc import __version__, config
from rfloc.errors import ConfigError, RFLocError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error made on purpose prints what, why and mend and gives exit status 2."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except RFLocError as error:
        sys.stdout.flush()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rfloc", description="RF localization: commands around the pipeline.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    doctor = commands.add_parser("doctor", help="say what was found on this machine and how to mend what is missing")
    doctor.set_defaults(run=_doctor)

    fetch = commands.add_parser("fetch", help="fill data/ with published files, each checked by its SHA-256")
    fetch.add_argument("name", help="data set, e.g. rome")
    fetch.add_argument(
        "--data-root", type=Path, help="folder that has the files (default: data.root, then $RFLOC_DATA)"
    )
    fetch.set_defaults(run=_fetch)

    params = commands.add_parser("params", help="compose params.yaml from conf/")
    params.add_argument("--scale", default="demo", help="one of conf/scale (default: demo)")
    params.add_argument("overrides", nargs="*", metavar="key=value", help="as Hydra takes them, e.g. training.lr=1e-3")
    params.set_defaults(run=_params)

    run = commands.add_parser("run", help="run a notebook with the parameters of params.yaml")
    run.add_argument("notebook", type=Path)
    run.add_argument("--out", type=Path, required=True, help="the executed notebook")
    run.add_argument("--stage", default="", help="name in the provenance (default: the stem of --out)")
    run.add_argument("-p", "--set", action="append", default=[], metavar="name=value", help="override one parameter")
    run.set_defaults(run=_run)

    cost = commands.add_parser(
        "cost", help="say what datasets B and C would cost, at this scale and at the paper's, from a measured probe"
    )
    cost.add_argument("--scale", help="one of conf/scale (default: what params.yaml holds)")
    cost.add_argument("--city", help="city in which the probe traces (default: the first of synthetic.b_cities)")
    cost.add_argument("--samples", type=int, default=1_000_000, help="rays a station of the probe (default: 1000000)")
    cost.add_argument("--b-stations", type=float, default=19.0, help="stations a city of B, where they are measured")
    cost.set_defaults(run=_cost)

    book = commands.add_parser("book", help="build the book from what the pipeline made")
    book.set_defaults(run=_book)

    verify = commands.add_parser("verify", help="check that results/ is what the pipeline wrote")
    verify.set_defaults(run=_verify)
    return parser


def _doctor(args: argparse.Namespace) -> int:
    from rfloc.doctor import report

    return report()


def _fetch(args: argparse.Namespace) -> int:
    from rfloc.datasets.fetch import fetch

    root = config.project_root()
    given = args.data_root or config.read(root / "params.yaml").data.root or os.environ.get("RFLOC_DATA")
    fetch(args.name, Path(given) if given else None, root / "data")
    return 0


def _params(args: argparse.Namespace) -> int:
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "conf" / "config.yaml").is_file()), None)
    if root is None:
        raise ConfigError(
            f"{here} lies in no RF-Loc project",
            "params.yaml is composed from conf/config.yaml",
            "run from inside a clone",
        )
    path = compose(root, [f"scale={args.scale}", *args.overrides])
    print(f"{path}: scale {args.scale}" + "".join(f", {o}" for o in args.overrides))
    return 0


def compose(root: Path, overrides: Sequence[str], target: Path | None = None) -> Path:
    """Compose conf/ with Hydra as `dvc exp run -S` does and write params.yaml, or `target`, once it is valid.

    Raises
    ------
    ConfigError
        If an override names no key or group option, or the result is not valid.
    """
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    target = target or root / "params.yaml"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".params-") as folder:
        part = Path(folder) / "params.yaml"
        try:
            compose_and_dump(str(part), str(root / "conf"), None, "config", "", list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            said = f"{error}\n{error.__cause__ or ''}".partition("Config search path")[0]
            why = " ".join(line.strip() for line in said.splitlines() if line.strip())
            raise ConfigError(
                f"conf/ cannot be composed with {' '.join(overrides)}", why, _nearest_keys(root, overrides)
            ) from None
        config.read(part)
        part.replace(target)
    return target


def _nearest_keys(root: Path, overrides: Sequence[str]) -> str:
    """For each override that names no key of conf/config.yaml, the nearest one."""
    known = set(_flatten(yaml.safe_load((root / "conf" / "config.yaml").read_text())))
    hints = []
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        near = difflib.get_close_matches(key, known, n=1)
        if key not in known and near:
            hints.append(f"instead of {key}, did you mean {near[0]}?")
    return " ".join(hints) or "conf/config.yaml lists every key, conf/scale every scale"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _run(args: argparse.Namespace) -> int:
    from rfloc.pipeline.run import run

    run(args.notebook, args.out, stage=args.stage, given=args.set)
    return 0


def _cost(args: argparse.Namespace) -> int:
    import pandas as pd

    from rfloc.studies.cost import estimate, probe_city, sizes

    root = config.project_root()
    with tempfile.TemporaryDirectory() as folder:

        def at(scale: str) -> config.Params:
            return config.read(compose(root, [f"scale={scale}"], Path(folder) / f"{scale}.yaml"))

        params = at(args.scale) if args.scale else config.read(root / "params.yaml")
        key = args.city or params.synthetic.b_cities[0]
        city = _city_at_hand(root, params, key, Path(folder))
        probe = probe_city(city, params.simulation, params.radio, args.samples, params.seed)
        asked = {params.scale: params} | ({} if params.scale == "paper" else {"paper": at("paper")})
    costs = {}
    for scale, scaled in asked.items():
        stations = scaled.campaign.stations if scaled.campaign.kind == "hidden" else args.b_stations
        costs[scale] = estimate(sizes(scaled, stations), scaled.engine, probe)
    print(f"{probe}\n\n{pd.concat(costs).to_string(float_format='{:,.1f}'.format, sparsify=False)}")
    return 0


def _city_at_hand(root: Path, params: config.Params, key: str, folder: Path) -> Path:
    """Folder of a city as `params` describe it: the one in build/, else a new one in `folder`."""
    from rfloc.city import build_city, open_city

    if key not in params.cities:
        raise ConfigError(f"there is no city {key!r}", f"cities are {', '.join(params.cities)}", "name one of them")
    built = root / "build" / "cities" / key
    if (built / "city.json").is_file() and open_city(built).params == params.cities[key]:
        return built
    data = config.data_root(params.data, root)
    return build_city(key, params.cities[key], data, folder / key).folder


def _book(args: argparse.Namespace) -> int:
    from rfloc.pipeline.book import build_book

    print(f"first page: {build_book(config.project_root()) / 'index.html'}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from rfloc.pipeline.record import verify

    root = config.project_root()
    print(f"{verify(root)} checks: results/ is what the pipeline wrote with these parameters")
    return 0
