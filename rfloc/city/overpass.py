"""OpenStreetMap by Overpass: the buildings and streets of one box on one date, fetched once and kept."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from xml.parsers import expat

import requests
from tqdm.auto import tqdm

from rfloc import __version__
from rfloc.city import Bounds, box_bounds
from rfloc.city.vector import data_folders
from rfloc.config import CityParams
from rfloc.errors import DataError
from rfloc.frames import LocalFrame
from rfloc.transfer import PassingError, insist, may_pass, whole_file

#: The server may work on a query this long [s] and use this much memory for it [bytes].
SERVER_TIME = 300
SERVER_MEMORY = 2**30

#: Folder of kept maps, under the data root or the project's `data/`.
FOLDER = "overpass"

#: Coordinates of a query are written to this [deg], about 1 m.
_GRAIN = 1e-5

_CHUNK = 1 << 16


def query(box: Bounds, date: str) -> str:
    """Overpass query for buildings (ways and multipolygons) and highways, with all their nodes.

    Parameters
    ----------
    box : (south, west, north, east)
        What is asked for [deg]; a way that comes into it is given whole.
    date : str
        State of the map, as 2021-08-01T00:00:00Z.
    """
    south, west, north, east = (f"{edge:.5f}" for edge in box)
    return (
        f'[out:xml][timeout:{SERVER_TIME}][maxsize:{SERVER_MEMORY}][date:"{date}"][bbox:{south},{west},{north},{east}];'
        '(way["building"];relation["building"]["type"="multipolygon"];way["highway"];);(._;>;);out body;'
    )


def fetch_map(
    params: CityParams,
    frame: LocalFrame,
    data_root: Path,
    *,
    silence: float = SERVER_TIME + 30.0,
    attempts: int = 5,
    pause: float = 15.0,
) -> Path:
    """The map of a city's box and margin on `osm_date` as an OSM XML file, from the server only where none is kept.

    A kept file is named after the date, the frame's origin and a hash of the whole query, box and date included: no
    other box or date gets it.

    Parameters
    ----------
    params : CityParams
        `box`, `margin`, `osm_date` and `overpass_url` count.
    frame : LocalFrame
        Frame in which the margin is measured.
    data_root : Path
        A kept file is looked for in `overpass/` under it, then under the project's `data/`, where it is also written;
        outside a project, under `data_root`.
    silence : float
        Longest silence of the server [s].
    attempts : int
        Silence, broken transfers, incomplete answers and the server's errors (5xx, 429) are tried again; other refusals
        are not.
    pause : float
        Between the first two attempts [s], then doubled each time.

    Returns
    -------
    Path
        The file, written only once it is whole.

    Raises
    ------
    DataError
        If no whole map could be had, or it is empty.
    """
    assert params.box is not None and params.osm_date is not None
    x_min, y_min, x_max, y_max = box_bounds(frame, params.box, params.margin)
    lat, lon = frame.to_geographic([x_min, x_min, x_max, x_max], [y_min, y_max, y_min, y_max])
    ask = query((lat.min() - _GRAIN, lon.min() - _GRAIN, lat.max() + _GRAIN, lon.max() + _GRAIN), params.osm_date)
    name = f"{params.osm_date[:10]}_{params.centre[0]:.4f}_{params.centre[1]:.4f}_{_hash(ask)}.osm"
    folders = [folder / FOLDER for folder in data_folders(data_root)]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    path = folders[-1] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        insist(lambda: _receive(params, ask, path, silence), params.name, attempts, pause, tqdm.write)
    except ValueError as error:  # requests' word for an address that is none
        raise DataError(f"{params.overpass_url} is no address", str(error), "mend overpass_url") from None
    except (PassingError, requests.RequestException) as error:
        raise DataError(
            f"{params.overpass_url} gave no map of {params.name} in {attempts} attempts",
            f"the last one: {error}",
            "try again later, choose another overpass_url or a smaller box, or use an extract (source: file, .osm.pbf)",
        ) from None
    return path


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _receive(params: CityParams, ask: str, path: Path, silence: float) -> None:
    """One attempt: the answer into a temporary file that becomes `path` if it is a whole map."""
    agent = {"User-Agent": f"rfloc/{__version__}"}
    with whole_file(path) as part:
        with (
            requests.post(
                params.overpass_url, {"data": ask}, headers=agent, stream=True, timeout=(min(silence, 30.0), silence)
            ) as answer,
            part.open("wb") as file,
        ):
            if not answer.ok:
                _refuse(params, answer)
            size = int(answer.headers.get("Content-Length", 0)) or None
            with tqdm(desc=f"map of {params.name}", total=size, unit="B", unit_scale=True) as bar:
                for chunk in answer.iter_content(_CHUNK):
                    bar.update(file.write(chunk))
        if not _count_ways(part):
            raise DataError(
                f"the map of {params.name} is empty",
                f"on {params.osm_date} there was neither a building nor a street in {params.box}",
                "check box (lat_min, lat_max, lon_min, lon_max) and osm_date",
            )


def _refuse(params: CityParams, answer: requests.Response) -> None:
    """Raise what an answer that is no success deserves."""
    said = f"{answer.status_code} {answer.reason}: {_plain(answer.text)}"
    if may_pass(answer.status_code):
        raise PassingError(said)
    raise DataError(
        f"{params.overpass_url} refuses the query for {params.name}", said, "check overpass_url, box and osm_date"
    )


def _plain(text: str, length: int = 200) -> str:
    """The beginning of an HTML page or a message on one line, without its mark-up."""
    body = re.sub(r"(?is)<(head|style|script)\b.*?</\1>", " ", text)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())[:length]


def _count_ways(path: Path) -> int:
    """Ways in an OSM XML file, after a look at whether it is whole.

    Something else than OSM XML, a file that breaks off and a remark that Overpass failed underway raise PassingError.
    """
    ways, root, remark = 0, "", [""]
    inside = False

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal ways, root, inside
        root = root or name
        ways += name == "way"
        inside = name == "remark"

    def end(name: str) -> None:
        nonlocal inside
        inside = False

    def text(data: str) -> None:
        if inside:
            remark.append(data)

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    broken = ""
    with path.open("rb") as file:
        try:
            parser.ParseFile(file)
        except expat.ExpatError as error:
            broken = str(error)
        if root != "osm":
            file.seek(0)
            said = _plain(file.read(4000).decode(errors="replace"))
            raise PassingError(f"the answer is no OSM XML but {root or 'plain text'}: {said}")
    if said := " ".join("".join(remark).split()):
        raise PassingError(f"the server remarks: {said}")
    if broken:
        raise PassingError(f"the answer breaks off: {broken}")
    return ways
