"""The Hub's own client against a small hub on this machine: pinned, only what is used, resumed, hashed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.port.conftest import Workspace

pytestmark = [pytest.mark.slow]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "transformer/model-00001-of-00002.safetensors": b"one" * 5000,
    "transformer/model-00002-of-00002.safetensors": b"two" * 5000,
    "transformer/model.safetensors.index.json": b"{}",
    "transformer/config.json": b"{}",
    "tokenizer/vocab.json": b"{}",
    "samples/large.mp4": b"not wanted" * 5000,
    "LICENSE": b"free",
}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as its client asks: a commit, a list of files, and the files, with ranges."""

    asked: ClassVar[list[str]] = []
    broken: ClassVar[bool] = False

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/some/model"):
            tree = "/tree/" in path
            siblings = [{"rfilename": name} for name in FILES]
            entries = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in FILES.items()]
            content = {"id": "some/model", "sha": COMMIT, "siblings": siblings}
            self._send(json.dumps(entries if tree else content).encode(), body, {})
            return
        name = path.removeprefix(f"/some/model/resolve/{COMMIT}/")
        if name not in FILES:
            self.send_error(404)
            return
        data = FILES[name]
        digest = hashlib.sha256(data).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if body:
            Hub.asked.append(name)
            asked = self.headers.get("Range")
            begin = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            if Hub.broken and name.endswith("2-of-00002.safetensors"):
                self.send_error(503)
                return
            self._send(data[begin:], True, headers, 206 if begin else 200)
        else:
            self._send(data, False, headers)

    def _send(self, data: bytes, body: bool, headers: dict[str, str], code: int = 200) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


PORT = f"""\
model: m
weights: {{repository: some/model, revision: {COMMIT}}}
target: {{kind: python}}
components:
  transformer:
    source: transformer/model.safetensors.index.json
    mapping: m.mapcc
    config: transformer/config.json
assets: {{tokenizer: {{}}}}
"""


@pytest.fixture
def hub(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    import huggingface_hub.constants as constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", where)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", where + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    Hub.asked.clear()
    Hub.broken = False
    workspace.write("port.yaml", PORT)
    yield workspace
    server.shutdown()


def test_only_what_is_used_at_the_commit(hub: Workspace) -> None:
    assert "6 files" in hub.good("fetch")
    folder = hub.folder / "official_weights/m"
    assert sorted(Hub.asked) == sorted(name for name in FILES if "samples" not in name)
    record = json.loads((folder / "fetched.json").read_text("utf-8"))
    assert record["revision"] == COMMIT
    for name, entry in record["files"].items():
        assert (folder / name).read_bytes() == FILES[name]
        assert entry == {"size": len(FILES[name]), "sha256": hashlib.sha256(FILES[name]).hexdigest()}
    Hub.asked.clear()
    hub.good("fetch")
    assert Hub.asked == []


def test_it_goes_on_where_it_stopped(hub: Workspace) -> None:
    Hub.broken = True
    ran = hub.port("fetch")
    assert ran.code == 2
    assert "MC915" in ran.err
    assert "Traceback" not in ran.err
    Hub.broken = False
    Hub.asked.clear()
    hub.good("fetch")
    assert "transformer/model-00001-of-00002.safetensors" not in Hub.asked
    assert "transformer/model-00002-of-00002.safetensors" in Hub.asked


def test_a_file_that_is_not_there(hub: Workspace) -> None:
    hub.write("port.yaml", PORT.replace("transformer/model.safetensors.index.json", "dit.safetensors"))
    ran = hub.port("fetch")
    assert ran.code == 2
    assert "`some/model` has no `dit.safetensors`" in ran.err
    assert not (hub.folder / "official_weights").exists()


def test_init_pins_the_commit(hub: Workspace) -> None:
    (hub.folder / "port.yaml").unlink()
    said = hub.good("init", "m", "--repository", "some/model", "--target", "python")
    assert f"revision: {COMMIT}, which main is at now" in said
    assert COMMIT in (hub.folder / "port.yaml").read_text("utf-8")


def test_a_path_is_hashed_and_not_fetched(workspace: Workspace) -> None:
    workspace.write("weights/a.safetensors", "x")
    workspace.write("port.yaml", PORT.replace(f"repository: some/model, revision: {COMMIT}", "path: weights"))
    workspace.good("fetch")
    digest = hashlib.sha256(b"x").hexdigest()
    assert workspace.evidence("fetch")["figures"]["files"] == {"a.safetensors": digest}
    assert not Path("weights/fetched.json").exists()
