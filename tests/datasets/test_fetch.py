"""Fetching against a server of our own that answers, stalls, refuses, breaks off and lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rfloc.datasets.fetch import Manifest, Origin, check_files, fetch, read_manifest
from rfloc.errors import ConfigError, DataError, HashMismatchError

BODY = bytes(range(256)) * 1000


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/gone" or (self.path == "/shaky" and len(self.server.asked) < 3):
            self.send_error(404 if self.path == "/gone" else 503)
            return
        if self.path == "/stalls":
            self.server.closing.wait(20)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        cut = len(BODY) // 2 if self.path == "/breaks" else len(BODY)
        self.wfile.write(BODY[:cut] if self.path != "/lies" else BODY[::-1])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.closing.set()
        running.shutdown()


def manifest(*origins: str | None) -> Manifest:
    digest = hashlib.sha256(BODY).hexdigest()
    files = [
        Origin(name=f"file{i}.bin", bytes=len(BODY), sha256=digest, origin=origin, licence="ours")
        for i, origin in enumerate(origins)
    ]
    return Manifest(folder="rome", files=files)


def get(
    target: Path, origins: Manifest, data_root: Path | None = None, said: list[str] | None = None
) -> dict[str, str]:
    said = [] if said is None else said
    return fetch("rome", data_root, target, origins, timeout=0.5, retries=3, pause=0.01, say=said.append)


def left(target: Path) -> list[str]:
    return sorted(path.name for path in (target / "rome").iterdir())


def test_downloads_once_then_keeps(tmp_path: Path, server: Server) -> None:
    said: list[str] = []
    assert get(tmp_path, manifest(f"{server.url}/good"), said=said) == {"file0.bin": "downloaded"}
    assert (tmp_path / "rome" / "file0.bin").read_bytes() == BODY and left(tmp_path) == ["file0.bin"]
    assert any("MB" in line for line in said) and "licence: ours" in said[-1]
    assert get(tmp_path, manifest(f"{server.url}/good")) == {"file0.bin": "kept"}
    assert server.asked == ["/good"]


def test_a_folder_at_hand_spares_the_download(tmp_path: Path, server: Server) -> None:
    (tmp_path / "mine" / "rome").mkdir(parents=True)
    (tmp_path / "mine" / "rome" / "file0.bin").write_bytes(BODY)
    assert get(tmp_path / "data", manifest(f"{server.url}/good"), tmp_path / "mine") == {"file0.bin": "copied"}
    assert server.asked == [] and left(tmp_path / "data") == ["file0.bin"]


def test_server_errors_are_tried_again(tmp_path: Path, server: Server) -> None:
    said: list[str] = []
    assert get(tmp_path, manifest(f"{server.url}/shaky"), said=said) == {"file0.bin": "downloaded"}
    assert server.asked == ["/shaky"] * 3 and sum("again in" in line for line in said) == 2


@pytest.mark.parametrize(("path", "attempts"), [("gone", 1), ("stalls", 3), ("breaks", 3)])
def test_what_cannot_be_had_is_named_and_the_rest_is_fetched(
    tmp_path: Path, server: Server, path: str, attempts: int
) -> None:
    with pytest.raises(DataError, match=f"1 of 2 files.*file0.bin: {server.url}/{path}") as error:
        get(tmp_path, manifest(f"{server.url}/{path}", f"{server.url}/good"))
    assert not isinstance(error.value, HashMismatchError)
    assert server.asked.count(f"/{path}") == attempts and left(tmp_path) == ["file1.bin"]


def test_no_server_at_all(tmp_path: Path, server: Server) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="could not be had"):
        get(tmp_path, manifest(f"{url}/good"))
    assert left(tmp_path) == []


def test_a_file_without_an_address_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not published at an address[\s\S]*RFLOC_DATA[\s\S]*OSM"):
        get(tmp_path, manifest(None))


def test_wrong_content_is_refused_and_leaves_nothing(tmp_path: Path, server: Server) -> None:
    with pytest.raises(
        HashMismatchError, match=r"file0.bin[\s\S]*expected " + hashlib.sha256(BODY).hexdigest()
    ) as error:
        get(tmp_path, manifest(f"{server.url}/lies"))
    assert hashlib.sha256(BODY[::-1]).hexdigest() in str(error.value)
    assert left(tmp_path) == []


def test_a_file_that_differs_is_never_overwritten(tmp_path: Path, server: Server) -> None:
    (tmp_path / "rome").mkdir()
    (tmp_path / "rome" / "file0.bin").write_bytes(b"mine")
    with pytest.raises(HashMismatchError):
        get(tmp_path, manifest(f"{server.url}/good"))
    assert (tmp_path / "rome" / "file0.bin").read_bytes() == b"mine" and server.asked == []


def test_a_damaged_copy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine" / "rome").mkdir(parents=True)
    (tmp_path / "mine" / "rome" / "file0.bin").write_bytes(BODY[1:])
    with pytest.raises(HashMismatchError, match=r"mine/rome/file0.bin is not the published"):
        get(tmp_path / "data", manifest(None), tmp_path / "mine")
    assert left(tmp_path / "data") == []


def test_the_projects_manifest(project_root: Path) -> None:
    rome = read_manifest("rome", project_root)
    assert {file.name for file in rome.files} >= {"rome_crop_knn_ready.csv", "buildings.parquet", "roads.parquet"}
    with pytest.raises(ConfigError, match=r"'oslo'.*\n.*knows rome\n.*manifest to null"):
        read_manifest("oslo", project_root)


def test_the_manifest_agrees_with_the_files(project_root: Path, rome_data: Path, tmp_path: Path) -> None:
    rome = read_manifest("rome", project_root)
    source = rome_data if (rome_data / "rome").is_dir() else rome_data.parent
    found = fetch("rome", source, tmp_path, rome, say=lambda line: None)
    assert set(found.values()) == {"copied"} and len(found) == len(rome.files)
    assert all((tmp_path / "rome" / f.name).stat().st_size == f.bytes for f in rome.files)


def test_files_are_checked_where_they_lie(
    tmp_path: Path, rome_data: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    check_files("rome", rome_data, project=project_root)
    with pytest.raises(DataError, match=r"is missing[\s\S]*rfloc fetch rome"):
        check_files("rome", tmp_path, project=project_root)
    (tmp_path / "rome").mkdir()
    for origin in read_manifest("rome", project_root).files:
        (tmp_path / "rome" / origin.name).write_bytes(b"something else")
    with pytest.raises(HashMismatchError, match="is not the published"):
        check_files("rome", tmp_path, project=project_root)
