"""How much of a row of Table 1 is luck: its experiments from several seeds, on the same datasets and test crops.

Beside them stand rows of B with a part of their network left out: what each part is worth.
"""

from pathlib import Path
from typing import Any

from rfloc import config, files, schema
from rfloc.city import open_city
from rfloc.config import ExperimentParams, Params
from rfloc.crops import CropBatcher
from rfloc.evaluation import evaluate, learned, ue_errors
from rfloc.training import init_checkpoint, load_localizer, run_experiment
from rfloc.training.batches import open_sources, open_targets, open_validation, told

#: Version of networks and their training: raise it by hand when their numbers change, so that kept seeds train again.
TRAINER = 2
#: By network, networks that lack a part of it, and what a row of theirs is called.
WITHOUT = {
    "map_radioformer": {"transformer": "without the pair score"},
    "mlp_unet": {"unet": "without the pair score"},
    "pair": {"pair_no_azimuth": "without azimuths", "pair_no_obstruction": "without obstruction"},
}


def ablations(experiments: dict[str, ExperimentParams]) -> dict[str, ExperimentParams]:
    """Experiments that train on B from nothing, again without a part of their network."""
    return {
        f"{key}-{name}": row.model_copy(update={"model": name, "label": f"{row.label} {said}"})
        for key, row in experiments.items()
        if row.data == "B" and row.start == "init"
        for name, said in WITHOUT.get(row.model, {}).items()
    }


def train_seed(build: Path, params: Params, key: str, seed: int) -> tuple[Path, dict[str, Any]]:
    """An experiment, and those that it starts from, trained from one seed: its checkpoint and what was found.

    Checkpoints are kept in `build`/seeds by all that they depend on, so that a study which was interrupted goes on.
    What the pipeline has trained, from the project's seed, is taken from it.
    """
    row, home, folder = params.experiments[key], params.campaign.cities[0], build / "seeds"
    piped = build / f"checkpoints/{key}.safetensors"
    ready = seed == params.seed and piped.exists()
    sections, weights = (params.model, params.crops, params.training), config.weights_root(params.data)
    if row.start == "init":
        start = folder / f"init-{seed}-{files.digest(*sections)[:16]}.safetensors"
        if not start.exists():
            init_checkpoint(start, params.model, params.crops, weights, seed)
    else:
        start, _ = train_seed(build, params, row.start, seed)
    read = [build / "links" / name for name in (row.data, row.adapt) if name]
    read += [build / name / f"{home}.zarr" for name in ("splits", "crops")] + [piped] * ready
    out = folder / f"{key}-{seed}-{files.digest(TRAINER, row, *sections, read, start.name)[:16]}.safetensors"
    out, record = piped if ready else out, out.with_suffix(".json")
    if out.exists() and record.exists():
        return out, files.load_json(record)
    sources, val = open_sources(build, params, key)
    if ready:
        history = files.load_json(build.parent / f"results/{params.scale}/experiments/{key}.json")["history"]
    else:
        history = run_experiment(
            key=f"{key}-{seed}", experiment=row, sources=sources, val=val, model=params.model, crops=params.crops,
            training=params.training, start=start, out=out, seed=seed, targets=open_targets(build, params, key),
        )  # fmt: skip
    localizer = load_localizer(out)
    links = told(build, params, key, schema.load(build / "links/A" / f"{home}.zarr", "links"))
    batcher = CropBatcher(links, open_city(build / "cities" / home).raster, params.crops)
    found = evaluate(localizer, batcher, schema.load(build / "crops" / f"{home}.zarr", "crops"))
    own = None if val is None else learned(localizer, *val, params.crops, params.seed)
    judge = open_validation(build, "B", home) if row.data in ("A", "oslo") else None
    judged = own if judge is None else learned(localizer, *judge, params.crops, params.seed)
    curve: dict[str, Any] = {  # for the eye: four digits
        name: [None if value is None else float(f"{value:.4g}") for value in history[name]]
        for name in ("samples", "losses", "val_errors")
    }
    said: dict[str, Any] = {street: float(ue_errors(found, street).error.mean()) for street in ("known", "unknown")}
    told_of = {"val_error": "error", "streets": "streets", "left_plateau": "left_plateau"}
    said |= {name: getattr(judged, of, None) for name, of in told_of.items()}
    files.save_json(said | {"curve": curve | {"streets": None if own is None else own.streets}}, record)
    return out, files.load_json(record)


def seeds_study(build: Path, params: Params, keys: list[str], seeds: int) -> dict[str, Any]:
    """Experiments and :func:`ablations` named by `keys`, from `seeds` seeds on: by key, a list with an entry a seed.

    `known` and `unknown` are mean errors on the test crops [m], `val_error` and `streets` those of the network and of
    the middle of the streets on simulated validation crops (:mod:`rfloc.evaluation.score`); `curves` have the errors
    on those crops that chose the pass, and of the middle of the streets there.
    """
    study: dict[str, Any] = {}
    params = params.model_copy(update={"experiments": params.experiments | ablations(params.experiments)})
    for key in keys:
        numbers = range(params.seed, params.seed + seeds)
        found = [train_seed(build, params, key, seed)[1] for seed in numbers]
        columns = {f"{name}s" if name == "curve" else name: [one[name] for one in found] for name in found[0]}
        study[key] = {"label": params.experiments[key].label, "seeds": list(numbers)} | columns
    return study
