"""What mapcc touches: watched by Python itself, in a process without a network."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.faults.counts import report
from tests.tensors.headers import entry, many

pytestmark = pytest.mark.slow

# Every file that is opened, made, renamed or removed goes to the standard error stream; sockets raise.
WATCHED = """
import os, socket, sys

def refused(*_, **__):
    raise AssertionError("the network was asked")

socket.socket = socket.create_connection = socket.getaddrinfo = refused
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = "mkdir rename remove rmdir link symlink truncate chmod chown utime setxattr".split()
CHANGES = {f"os.{name}" for name in CHANGES} | {"shutil.move", "shutil.rmtree", "shutil.copyfile"}
NEVER = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
NEVER.add("pickle.find_class")
seen = set()

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        kind = "write" if arguments[2] & WRITES else "read"
        seen.add((kind, os.path.abspath(os.fsdecode(arguments[0]))))
    elif event in ("os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
        seen.add(("read", os.path.abspath(os.fsdecode(arguments[0]))))
    elif event in CHANGES:
        for path in arguments[:2]:
            if isinstance(path, (str, bytes)):
                seen.add(("write", os.path.abspath(os.fsdecode(path))))
    elif event in NEVER:
        seen.add(("never", event))

sys.dont_write_bytecode = True
from mapcc.cli import main
sys.addaudithook(watch)
try:
    main()
except SystemExit as end:
    code = end.code or 0
sys.stdout.flush()
import json
print(json.dumps([code, sorted(seen)]), file=sys.stderr)
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Two shards with an index and a config, beside files that are none of mapcc's business."""
    (tmp_path / "in").mkdir()
    weight_map = {}
    for at in (1, 2):
        name = f"model-0000{at}-of-00002.safetensors"
        raw = many(entry(f"a.{at}.w"), entry(f"b.{at}", offsets="[4,8]"), size=8)
        (tmp_path / "in" / name).write_bytes(raw)
        weight_map |= {f"a.{at}.w": name, f"b.{at}": name}
    (tmp_path / "in" / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": weight_map}), "utf-8"
    )
    (tmp_path / "in" / "config.json").write_text('{"layers": 2}', "utf-8")
    for other in ("in/secret.bin", "in/modeling.py", "beside.safetensors", "sitecustomize.py"):
        (tmp_path / other).write_text("raise SystemExit('loaded')", "utf-8")
    rule = (
        "a.{i}.w -> c.{i}.w where i <= source.config.layers\nb.{i} -> d.{i} where i <= source.config.layers\n"
    )
    (tmp_path / "used.mapcc").write_text(rule, "utf-8")
    (tmp_path / "m.mapcc").write_text('use "used.mapcc"\n', "utf-8")
    target = {f"{name}.{at}{end}": [1] for at in (1, 2) for name, end in (("c", ".w"), ("d", ""))}
    (tmp_path / "target.json").write_text(json.dumps(target), "utf-8")
    return tmp_path


COMMANDS = {
    "check": ("check", "m.mapcc", "-s", "in", "-t", "target.json"),
    "show": ("show", "m.mapcc", "-s", "in", "-t", "target.json"),
    "keys": ("keys", "in"),
    "emit-config": ("emit-config", "m.mapcc", "-s", "in", "-t", "target.json"),
    "invert": ("invert", "m.mapcc", "-s", "in", "-t", "target.json"),
    "convert": (
        "convert",
        "m.mapcc",
        "-s",
        "in",
        "-t",
        "target.json",
        "--out",
        "out",
        "--max-shard-size",
        "8B",
    ),
}
NAMED = ("in", "m.mapcc", "used.mapcc", "target.json")
IGNORED = ("secret.bin", "modeling.py")


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_touched_that_was_not_named(command: str, checkpoint: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *COMMANDS[command]],
        cwd=checkpoint,
        capture_output=True,
        text=True,
        check=False,
    )
    code, seen = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stdout + done.stderr
    read = {Path(path) for kind, path in seen if kind == "read"}
    written = {Path(path) for kind, path in seen if kind == "write"}
    assert not [event for kind, event in seen if kind == "never"]
    out = checkpoint / "out"
    assert not [path for path in written if not is_of_output(path, out)]
    assert bool(written) == (command == "convert")
    named = [checkpoint / name for name in NAMED]
    mine = [path for path in read if path != checkpoint and not is_of_output(path, out)]
    system = python_itself(root)
    strange = [path for path in mine if not any(path.is_relative_to(place) for place in (*named, *system))]
    assert not strange
    assert not [path for path in read if path.name in IGNORED]
    assert any(path.suffix == ".safetensors" for path in read)
    report({"read": 6}, read=len(read), written=len(written))


def is_of_output(path: Path, out: Path) -> bool:
    """The output, or what stands beside it under its name until it is done."""
    return path.is_relative_to(out) or any(
        place.parent == out.parent and place.name.startswith(out.name) for place in (path, *path.parents)
    )


def python_itself(root: Path) -> list[Path]:
    """Where Python, its packages and mapcc are, and what a process may ask of its machine."""
    places = {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, str(root)}
    machine = (
        "/proc",
        "/sys",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/dev/null",
        "/dev/urandom",
        "/usr/lib",
        "/lib",
    )
    return [Path(place) for place in (*places, *machine)] + [Path(place).resolve() for place in places]
