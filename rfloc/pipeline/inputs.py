"""What stages open that neither git nor DVC holds: linked where DVC watches it, hashed where stages depend on it.

Of every file `gather` leaves a link, build/inputs/links/<name>.<n>, an output of the stages `map` and `inputs`, so that
`dvc status` sees an edit at once; and its SHA-256 in build/inputs/<name>.json, on which the stages depend that open it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rfloc import config, files
from rfloc.config import require_composed
from rfloc.errors import ConfigError, DataError, nearest

FOLDER = "build/inputs"
#: Links a name; more files are hashed, but do not show in `dvc status`.
LINKS = 4


def files_of(name: str, params: config.Params, root: Path) -> dict[str, Path]:
    """Files of a name of :func:`names_of` (else ConfigError) by their own below their folder, or a DataError."""
    data, city = config.data_root(params.data, root), name.removeprefix("maps/")
    if about := params.cities.get(city):
        if about.source != "overpass":
            return _files(filter(None, (about.buildings, about.streets)), data, root)
        from rfloc.city import osm
        from rfloc.frames import LocalFrame

        kept = [osm.fetch(about, kind, LocalFrame(*about.centre), data) for kind in (osm.BUILDINGS, osm.STREETS)]
        return {f"overpass/{path.name}": path for path in kept}
    if name == "campaign":
        return _files(params.campaign.files, data, root)
    if name == "weights":
        folder = config.weights_root(params.data) or root
        names = ("config.json", "model.safetensors") if params.model.pretrained else ()
        paths = {f"{params.model.backbone}/{file}": folder / params.model.backbone / file for file in names}
        if missing := [str(path) for path in paths.values() if not path.is_file()]:
            raise DataError(f"there is no {missing[0]}", "model.pretrained is on", "set data.weights or RFLOC_WEIGHTS")
        return paths
    if name == "oslo":
        found = [path for kind in ("oslo/*.mat", "rome/*.mat", "rome/*_ready.csv") for path in sorted(data.glob(kind))]
        return {path.relative_to(data).as_posix(): path for path in found}
    raise ConfigError(f"there is no input {name!r}", "", nearest(name, names_of(params)))


def names_of(params: config.Params) -> list[str]:
    """Every name that :func:`files_of` takes."""
    return [*(f"maps/{city}" for city in params.cities), "campaign", "weights", "oslo"]


def _files(names: Iterable[str], data: Path, root: Path) -> dict[str, Path]:
    """Input files by name, a shapefile with the files that belong to it, its table before others."""
    paths = {name: config.input_file(name, data, root) for name in names}
    for name, path in list(paths.items()):
        if path.suffix.lower() == ".shp":
            paths |= {str(Path(name).with_name(part.name)): part for part in path.parent.glob(f"{path.stem}.[cdsp]*")}
    return dict(sorted(paths.items(), key=lambda item: item[1].suffix.lower() in (".cpg", ".prj", ".shx")))


def hashes(name: str, params: config.Params, root: Path) -> dict[str, str]:
    """SHA-256 of the files of a name, as records hold it."""
    return {file: f"sha256:{files.content_hash(path)}" for file, path in files_of(name, params, root).items()}


def hash_of(file: str, params: config.Params, root: Path) -> str | None:
    """SHA-256 of the file that a record names, of a data folder or the folder of weights; None where it is gone."""
    folders = (config.data_root(params.data, root), root / "data", config.weights_root(params.data) or root)
    path = next(filter(Path.is_file, (folder / file for folder in folders)), None)
    return f"sha256:{files.content_hash(path)}" if path else None


def gather(root: Path, names: Sequence[str] = ()) -> None:
    """Link and hash the files of the names, by default of all (raises ConfigError or DataError)."""
    params = config.read(root / "params.yaml")
    require_composed(root)  # after: a slip in an experiment is not remembered
    for name in names or names_of(params):
        paths = list(files_of(name, params, root).values())
        for number in range(LINKS):
            with files.write(root / FOLDER / "links" / f"{name}.{number}") as part:
                if number < len(paths):
                    part.symlink_to(paths[number].resolve())
                else:
                    part.write_text("no file\n")
        files.save_json(hashes(name, params, root), root / FOLDER / f"{name}.json")
    for path in (root / FOLDER).glob("maps/*.json"):
        if path.stem not in params.cities:
            path.unlink()


def told(root: Path, deps: Iterable[str]) -> dict[str, str]:
    """SHA-256, by name, of files behind a stage's `deps` as the pipeline was told; DataError if they are others now."""
    params, found = config.read(root / "params.yaml"), dict[str, str]()
    for name in names_of(params):
        if any(f"{FOLDER}/{name}.json".startswith(dep) for dep in deps):
            held = files.load_json(root / FOLDER / f"{name}.json")
            if held != (now := hashes(name, params, root)):
                changed = ", ".join(sorted(file for file in held | now if held.get(file) != now.get(file)))
                what = f"{changed}: not the files that the pipeline was told of"
                raise DataError(what, "edited since, or $RFLOC_DATA names another folder", "type `rfloc inputs`")
            found |= held
    return found
