"""Fetching against a server of our own that answers, refuses, breaks off and lies."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rfloc.datasets.measured import check_files, fetch, read_manifest
from rfloc.errors import ConfigError, DataError

BODY = bytes(range(256)) * 1000
FILE = "rome/file0.bin"


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone" or (self.path == "/shaky" and len(self.asked) < 2):
            self.send_error(404 if self.path == "/gone" else 503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write({"/breaks": BODY[:1000], "/lies": BODY[::-1]}.get(self.path, BODY))

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def get(target: Path, *origins: str | None, data_root: Path | None = None, retries: int = 0) -> dict[str, str]:
    about = {"bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest(), "licence": "ours"}
    files = [{"name": f"file{i}.bin", "origin": origin, **about} for i, origin in enumerate(origins)]
    return fetch("rome", data_root, target, {"folder": "rome", "files": files}, retries=retries)


def put(root: Path, content: bytes) -> Path:
    (root / "rome").mkdir(parents=True)
    (root / FILE).write_bytes(content)
    return root


def left(target: Path) -> list[str]:
    return sorted(path.name for path in (target / "rome").iterdir())


def test_downloads_once_then_keeps(tmp_path, server, capsys):
    assert get(tmp_path, f"{server}/shaky", retries=1) == {"file0.bin": "downloaded"}  # a server error is tried again
    assert (tmp_path / FILE).read_bytes() == BODY and left(tmp_path) == ["file0.bin"]
    assert "licence: ours" in capsys.readouterr().out
    assert get(tmp_path, f"{server}/good") == {"file0.bin": "kept"}
    assert get(tmp_path / "data", f"{server}/good", data_root=tmp_path) == {"file0.bin": "copied"}
    assert Handler.asked == ["/shaky", "/shaky"] and left(tmp_path / "data") == ["file0.bin"]


@pytest.mark.parametrize("path", ["gone", "breaks"])
def test_what_cannot_be_had_is_named_and_the_rest_is_fetched(tmp_path, server, path):
    with pytest.raises(DataError, match=f"1 of 2 files.*file0.bin: {server}/{path}"):
        get(tmp_path, f"{server}/{path}", f"{server}/good")
    assert left(tmp_path) == ["file1.bin"]


def test_wrong_content_is_refused_leaves_nothing_and_a_file_without_an_address_says_where_to_get_it(tmp_path, server):
    with pytest.raises(DataError, match=r"not published at an address[\s\S]*RFLOC_DATA[\s\S]*OSM"):
        get(tmp_path, None)
    with pytest.raises(DataError, match=hashlib.sha256(BODY[::-1]).hexdigest()):
        get(tmp_path, f"{server}/lies")
    assert left(tmp_path) == []


def test_a_file_that_differs_is_never_overwritten_nor_copied(tmp_path, server):
    mine = put(tmp_path, b"mine")
    with pytest.raises(DataError, match=r"file0.bin is not the published file"):
        get(mine, f"{server}/good")
    with pytest.raises(DataError, match=r"file0.bin is not the published file"):
        get(tmp_path / "data", None, data_root=mine)
    assert (mine / FILE).read_bytes() == b"mine" and left(tmp_path / "data") == [] and Handler.asked == []


def test_the_projects_manifest_agrees_with_the_files(project_root, rome_data, tmp_path):
    rome = read_manifest("rome", project_root)
    used = [f"rome/{file['name']}" for file in rome["files"]]
    check_files("rome", rome_data, used, project_root)
    with pytest.raises(DataError, match=r"is missing[\s\S]*rfloc fetch rome"):
        check_files("rome", tmp_path, used, project_root)
    with pytest.raises(ConfigError, match="has no file rome/other"):
        check_files("rome", rome_data, ["rome/other"], project_root)
    with pytest.raises(ConfigError, match=r"'bergen'.*\n.*knows oslo, rome\n.*manifest to null"):
        read_manifest("bergen", project_root)
    assert set(fetch("rome", rome_data, tmp_path, rome).values()) == {"copied"}
    assert all((tmp_path / "rome" / f["name"]).stat().st_size == f["bytes"] for f in rome["files"])
