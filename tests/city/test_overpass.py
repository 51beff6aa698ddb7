"""Overpass against a server of our own that answers, stalls, fails, breaks off and remarks."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from rfloc.city import build_city, osm
from rfloc.config import CityParams
from rfloc.errors import DataError
from tests.city.maps import BOX, FRAME, OsmMap, city, small_map

DATE = "2021-08-01T00:00:00Z"
MAP = small_map().json()

#: What the server does to a request: status, body, bytes of it that it promises.
ACTS: dict[str, tuple[int, bytes, int]] = {
    "map": (200, MAP, len(MAP)),
    "504": (504, b"<p>too busy</p>", 15),
    "429": (429, b"slow down", 9),
    "400": (400, b"line 1: parse error", 19),
    "breaks": (200, MAP[: len(MAP) // 2], len(MAP)),
    "truncated": (200, MAP[: len(MAP) // 2], len(MAP) // 2),
    "remark": (200, small_map().json(remark="runtime error: Query timed out"), 0),
    "text": (200, b"try later", 9),
    "empty": (200, OsmMap().json(), 0),
}


class Server(ThreadingHTTPServer):
    """Plays `acts` one by one, the last one for ever, and keeps the queries that it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: list[str] = ["map"]
        self.queries: list[str] = []
        self.closing = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.queries.append(parse_qs(body)["data"][0])
        act = self.server.acts.pop(0) if len(self.server.acts) > 1 else self.server.acts[0]
        if act == "stalls":
            self.server.closing.wait(20)
            return
        status, content, promised = ACTS[act]
        self.send_response(status)
        if promised:
            self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)  # outside the project: maps are kept under the data root
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.closing.set()
        running.shutdown()


def params(server: Server, **changes: object) -> CityParams:
    url = f"http://127.0.0.1:{server.server_port}/api/interpreter"
    return city(**({"source": "overpass", "overpass_url": url, "osm_date": DATE, "buildings": None} | changes))


def get(server: Server, data_root: Path, **changes: object) -> Path:
    return osm.fetch(params(server, **changes), osm.BUILDINGS, FRAME, data_root, silence=0.3, pause=0.01)


def kept(data_root: Path) -> list[str]:
    return [path.name for path in data_root.glob("overpass/*")]


def test_what_is_asked_and_that_a_kept_map_needs_no_server(tmp_path, server):
    path = get(server, tmp_path, margin=100.0)
    (asked,) = server.queries
    assert kept(tmp_path) == [path.name] and f'[date:"{DATE}"]' in asked and "['building']" in asked
    places = asked.partition("(poly:'")[2].partition("')")[0].split()
    x, y = FRAME.to_local([float(lat) for lat in places[::2]], [float(lon) for lon in places[1::2]])
    assert (y.min(), y.max()) == pytest.approx((-211.1, 211.1), abs=1.5)
    assert (x.min(), x.max()) == pytest.approx((-178.8, 178.8), abs=1.5)
    server.shutdown()
    server.server_close()
    assert get(server, tmp_path, margin=100.0) == path and len(server.queries) == 1


def test_no_two_boxes_dates_or_margins_share_a_map(tmp_path, server):
    moved = [BOX[0] + 0.0001, *BOX[1:]]
    changes = ({}, {"box": moved, "origin": [45.0, 10.0]}, {"margin": 50.0}, {"osm_date": "2022-08-01T00:00:00Z"})
    assert len({get(server, tmp_path, **change) for change in changes}) == len(set(server.queries)) == 4


def test_inside_a_project_maps_are_kept_in_its_data(tmp_path, server, monkeypatch):
    (tmp_path / "project").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / "project" / name).touch()
    monkeypatch.chdir(tmp_path / "project")
    path = get(server, tmp_path / "mine")
    assert path.parent == tmp_path / "project" / "data" / "overpass" and not (tmp_path / "mine").exists()
    (tmp_path / "mine").mkdir()
    path.parent.rename(tmp_path / "mine" / "overpass")
    assert get(server, tmp_path / "mine") == tmp_path / "mine" / "overpass" / path.name, "a map at hand is taken"
    assert len(server.queries) == 1


@pytest.mark.parametrize("act", ["504", "429", "stalls", "breaks", "truncated", "remark", "text"])
def test_what_passes_is_tried_again(tmp_path, server, act):
    server.acts = [act, act, "map"]
    path = get(server, tmp_path)
    assert len(server.queries) == 3 and kept(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("act", "attempts", "message"),
    [
        ("504", 3, r"gave no buildings of Testville on 2021[\s\S]*504 [\s\S]*too busy[\s\S]*try again later"),
        ("stalls", 3, "[Tt]imed out"),
        ("remark", 3, "runtime error: Query timed out"),
        ("400", 1, "400 Bad Request: line 1: parse error"),
        ("empty", 1, "No matching features"),
    ],
)
def test_what_stays_is_named_and_nothing_is_kept(tmp_path, server, act, attempts, message):
    server.acts = [act]
    with pytest.raises(DataError, match=message):
        get(server, tmp_path)
    assert len(server.queries) == attempts and kept(tmp_path) == []


def test_a_city_is_built_from_the_map_or_not_at_all(tmp_path, server):
    made = build_city("test", params(server), tmp_path, tmp_path / "cities" / "test")
    assert made.facts["buildings"] == 2 and made.facts["height_sources"] == {"height": 1, "levels": 1}
    assert made.facts["street_classes"] == {"primary": 1, "residential": 1, "footway": 1} and len(kept(tmp_path)) == 2
    assert made.height_at([15.0, 30.0], [15.0, 30.0]).tolist() == [21.0, 0.0], "the courtyard is open"
    assert made.frame == FRAME and (made.folder / "scene.xml").is_file()
    server.acts = ["400"]
    with pytest.raises(DataError, match="parse error"):
        build_city("new", params(server, margin=10.0), tmp_path, tmp_path / "cities" / "new")
    assert not (tmp_path / "cities" / "new").exists()
