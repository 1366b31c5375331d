"""Which files a mapping may use, and how much all of them may cost: counted, and not timed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mapcc import resources
from mapcc.api import check, emit_config, invert, load_mapping, parse, uses_allowed
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.patterns import Deep, Pattern, Text
from mapcc.passes import scope as scopes
from mapcc.passes.flatten import flatten
from mapcc.passes.match import Trie
from mapcc.passes.segments import variants
from mapcc.syntax import budget
from mapcc.syntax.load import Loader
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.conftest import Mapcc
from tests.work import assert_grows_with_its_input

SECRET = "s3cret: => not a mapping"


def key_set(*names: str) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], (4, 4)) for name in names}
    return Manifest(tensors, (), "test", None, {})


def written(folder: Path, files: dict[str, str]) -> Path:
    """The files; the first of them is the mapping."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / next(iter(files))


def found(path: Path, *names: str) -> tuple[Diagnostic, ...]:
    return check(path, key_set(*names or ("a",))).diagnostics


# --- where they may lie


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    path = tmp_path / "outside" / "secret.mapcc"
    path.write_text(SECRET, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "how", ["absolute", "upward", "down and up", "link", "folder of links", "from below"]
)
def test_nothing_outside_is_read_or_printed(how: str, secret: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "link.mapcc").symlink_to(secret)
    (inside / "links").symlink_to(secret.parent)
    named = {
        "absolute": str(secret),
        "upward": "../outside/secret.mapcc",
        "down and up": "sub/../../outside/secret.mapcc",
        "link": "link.mapcc",
        "folder of links": "links/secret.mapcc",
        "from below": "sub/part.mapcc",
    }[how]
    files = {
        "m.mapcc": f'use "{named}" under a -> b\n',
        "sub/part.mapcc": 'use "../../outside/secret.mapcc"\n',
    }
    path = written(inside, files)
    faults = check(path, key_set("a.x")).diagnostics
    assert [fault.code for fault in faults] == ["MC109"]
    assert "s3cret" not in repr(faults)
    for ask in (lambda: invert(path), lambda: emit_config(path, key_set("a.x"))):
        with pytest.raises(MappingError) as refused:
            ask()
        assert {fault.code for fault in refused.value.diagnostics} == {"MC109"}
        assert "s3cret" not in repr(refused.value.diagnostics)


def test_whoever_runs_it_may_allow_more(tmp_path: Path) -> None:
    path = written(tmp_path, {"inside/m.mapcc": 'use "../shared/p.mapcc"\n', "shared/p.mapcc": "keep a\n"})
    assert [fault.code for fault in found(path)] == ["MC109"]
    with uses_allowed(tmp_path / "shared"):
        assert found(path) == ()
        with uses_allowed(tmp_path / "other"):
            assert found(path) == ()
    with uses_allowed(tmp_path / "other"):
        assert [fault.code for fault in found(path)] == ["MC109"]
    assert [fault.code for fault in found(path)] == ["MC109"]


@pytest.mark.parametrize("command", ["check", "diff"])
def test_more_is_allowed_on_the_command_line(command: str, tmp_path: Path, mapcc: Mapcc) -> None:
    path = written(tmp_path, {"inside/m.mapcc": 'use "../shared/p.mapcc"\n', "shared/p.mapcc": "keep a\n"})
    (tmp_path / "keys.json").write_text('{"a": [4]}', encoding="utf-8")
    arguments = [command, path, *([path] if command == "diff" else ()), "--source", tmp_path / "keys.json"]
    refused = mapcc(*arguments)
    assert refused.code == 1
    assert "MC109" in refused.out + refused.err
    assert mapcc(*arguments, "--allow-use", tmp_path / "shared").code == 0
    assert mapcc(*arguments).code == 1


def test_below_and_beside_and_the_library_need_no_leave(tmp_path: Path) -> None:
    files = {
        "m.mapcc": 'use "sub/p.mapcc"\nuse "beside.mapcc"\n',
        "sub/p.mapcc": 'use "../beside.mapcc" under x -> y\nuse "deeper/q.mapcc"\n',
        "sub/deeper/q.mapcc": "keep q\n",
        "beside.mapcc": "keep a\n",
    }
    assert found(written(tmp_path, files), "a", "x.a", "q") == ()
    family = next(path for path in resources.mappings().rglob("*.mapcc") if "../" in path.read_text() or True)
    load_mapping(family)


def test_every_mapping_of_the_library_uses_what_it_may() -> None:
    for path in resources.mappings().rglob("*.mapcc"):
        faults = Diagnostics()
        flatten(load_mapping(path), path, {}, {}, faults)
        assert not [fault for fault in faults if fault.code in ("MC109", "MC103")], path


def test_a_record_is_all_that_a_closed_loader_believes(tmp_path: Path) -> None:
    """What ``verify`` reads: texts that somebody wrote down, whatever lies on this disk by their names."""
    path = written(tmp_path, {"m.mapcc": 'use "part.mapcc"\n', "part.mapcc": SECRET})
    faults = Diagnostics()
    loader = Loader(faults, is_closed=True)
    loader.preload(path, path.read_text(encoding="utf-8"))
    mapping = loader.load(path)
    assert mapping is not None
    flatten(mapping, path, {}, {}, faults, loader)
    assert [fault.code for fault in faults] == ["MC109"]


# --- what they may cost


def spent(path: Path) -> tuple[list[str], int]:
    """The codes of what was found, and how often a file was asked for."""
    faults, asked = Diagnostics(), 0

    class Counting(Loader):
        __slots__ = ()

        def used(self, *arguments: object) -> object:  # type: ignore[override]
            nonlocal asked
            asked += 1
            return super().used(*arguments)  # type: ignore[arg-type]

    loader = Counting(faults)
    mapping = loader.load(path)
    if mapping is not None:
        flatten(mapping, path, {}, {}, faults, loader)
    return sorted({fault.code for fault in faults}), asked


def test_files_that_use_each_other_twice_are_counted_as_often(tmp_path: Path) -> None:
    twice = 'use "{0}.mapcc" under a -> b\nuse "{0}.mapcc" under c -> d\n'
    files = {f"{n}.mapcc": twice.format(n + 1) for n in range(30)} | {"30.mapcc": "keep a\n"}
    codes, asked = spent(written(tmp_path, files))
    assert codes == ["MC103"]
    assert asked <= 2 * budget.MAX_STATEMENTS


def test_two_hundred_uses_of_one_file_are_fine(tmp_path: Path) -> None:
    uses = "".join(f'use "part.mapcc" under a{n} -> b{n}\n' for n in range(200))
    part = "".join(f"x{n} -> y{n}   optional\n" for n in range(13))
    codes, asked = spent(written(tmp_path, {"m.mapcc": uses, "part.mapcc": part}))
    assert (codes, asked) == ([], 200)


@pytest.mark.parametrize("length", [budget.MAX_CHAIN, budget.MAX_CHAIN + 1, 400])
def test_a_chain_of_uses_has_an_end(length: int, tmp_path: Path) -> None:
    files = {f"{n}.mapcc": f'use "{n + 1}.mapcc"\n' for n in range(length)} | {f"{length}.mapcc": "keep a\n"}
    path = written(tmp_path, files)
    codes, _ = spent(path)
    assert codes == ([] if length <= budget.MAX_CHAIN else ["MC103"])
    if codes:
        with pytest.raises(MappingError, match="MC103"):
            invert(path)


def test_all_files_together_have_a_length(tmp_path: Path) -> None:
    half = "keep a\n" * (budget.MAX_WORDS // 4 + 100)
    files = {"m.mapcc": 'use "p.mapcc"\n', "p.mapcc": 'use "q.mapcc"\n' + half, "q.mapcc": half}
    assert spent(written(tmp_path, files))[0] == ["MC103"]
    with pytest.raises(MappingError, match="words and signs"):
        parse(half * 2)


def test_comments_and_texts_cost_nothing() -> None:
    assert budget.count_words("# word " * 9 + '\nabout source "a b c"  # {d}\n') == 3
    assert budget.count_words("{x:/#/} -> y, z  # w") == budget.count_words("q -> y, z") == 6
    assert budget.count_words("a: 'b # c'", comments=True) > budget.count_words("a: b", comments=True)


def test_too_many_statements_are_told_once_and_alone() -> None:
    text = "a -> b\n" * (budget.MAX_STATEMENTS + 1)
    assert [fault.code for fault in check(parse(text), key_set("a", "x")).diagnostics] == ["MC103"]


# --- lets, numbers


@pytest.mark.parametrize("sign", ["+", "*", "- 1 +"])
def test_each_let_is_evaluated_once(sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lets = "".join(f"let v{n + 1} = v{n} {sign} v{n}\n" for n in range(60))
    calls: list[object] = []
    original = scopes.evaluate
    monkeypatch.setattr(scopes, "evaluate", lambda *a: (calls.append(a), original(*a))[1])
    faults = check(parse(f"let v0 = 3\n{lets}a : h d -> b : h d where h = v60\n"), key_set("a")).diagnostics
    assert {fault.code for fault in faults} <= {"MC108", "MC306"}
    assert len(calls) <= 61


def test_a_chain_of_lets_may_be_long() -> None:
    lets = "".join(f"let v{n + 1} = v{n}\n" for n in range(3000))
    assert check(parse(f"let v0 = 4\n{lets}a : h d -> b : h d where h = v3000\n"), key_set("a")).ok


@pytest.mark.parametrize(
    "lets",
    [
        "let a = a",
        "let a = b\nlet b = a",
        "let a = b + c\nlet b = 1\nlet c = d\nlet d = a",
        "let a = 1 + (a - 1)",
    ],
)
def test_a_circle_of_lets_is_told(lets: str) -> None:
    (fault,) = check(parse(f"{lets}\na : h d -> x : h d where h = a\n"), key_set("a")).diagnostics
    assert "defined by itself" in fault.message


@pytest.mark.parametrize(
    "value",
    [
        "9**64",
        " * ".join(["10**60"] * 9),
        "2**64 * 2**64 * 2**64 * 2**64 * 2",
        "(9**64)**64",
        "9" * 40 + " * 9" * 30,
    ],
)
def test_numbers_have_a_size(value: str) -> None:
    faults = check(parse(f"let n = {value}\na : h d -> x : h d where h = n\n"), key_set("a")).diagnostics
    assert {fault.code for fault in faults} <= {"MC108", "MC306"}
    factors = " * ".join([f"({value})"] * 3)
    text = f"a.{{i}} -> b.{{({factors})*i}}\nx : h d -> y : h d where h = {factors} * d"
    assert not check(parse(text), key_set("a.1", "x")).ok


def test_a_number_within_its_bounds_is_exact() -> None:
    assert check(
        parse("let n = 2**64 * 2**64 // 2**63 // 2**63\na : h d -> x : h d where h = n\n"), key_set("a")
    ).ok


# --- no recursion over what is given


WIDE = {
    "atoms": "a : {0} -> b : {0}".format(" ".join(f"d{n}" for n in range(3000))),
    "product": "a : ({0}) c -> b : ({0}) c".format(" ".join(f"d{n}" for n in range(3000))),
    "sum": "a : ({0}) -> b : ({0})".format(" + ".join(f"d{n}" for n in range(3000))),
    "ones": "a : " + "1 " * 10_000 + "x y -> b : x y",
    "twos": "a : " + "2 " * 10_000 + "x y -> b : x y",
    "groups": "keep " + "{a,b}" * 3000,
    "listed groups": "drop " + "{a,b}" * 3000 + ' because "x"',
    "typed groups": "keep a\ndtype f32 {\nkeep " + "{a,b}" * 3000 + "\n}",
    "created groups": "keep a\ncreate " + "{a,b}" * 3000 + " : 3 = 0",
    "labels": "keep " + "[t=a,b]" * 3000,
    "indices": "keep " + "{i}." * 3000 + "w",
    "stars": "keep " + "*." * 3000 + "w",
    "segments": "keep " + "a." * 30_000 + "w",
    "asked": "a -> b where exists(" + "*." * 3000 + "w)",
    "permute": "a | permute 0 5 -> b",
    "permuted words": "a | permute h 0 -> b",
    "wide permute": "a | permute " + " ".join(map(str, range(9000))) + " -> b",
    "blocks": "{a,b} -> {a,b} {\n" * 30 + "keep x\n" + "}\n" * 30,
    "block of stars": ("*." * 200 + "a -> " + "*." * 200 + "b {\n") * 30 + "keep x\n" + "}\n" * 30,
}


@pytest.mark.parametrize("text", WIDE.values(), ids=WIDE)
def test_what_is_wide_is_told_or_done(text: str) -> None:
    mapping = parse(text)
    long = ".".join("a" * 3000)
    for target in (None, key_set("a", "b", long)):
        assert not check(mapping, key_set("a", "x", long), target).ok
    with suppress(MappingError):
        again = invert(mapping)
        assert parse(again.text) == again.mapping


@pytest.mark.parametrize("pattern", ["**.q", "**.a", "a.**", "**.{i}.*", "*.**", "**.a*"])
def test_a_name_of_many_segments(pattern: str) -> None:
    long = ".".join("a" * 5000)
    found = check(parse(f"keep {pattern} optional\nkeep x"), key_set(long, "x")).diagnostics
    assert {fault.code for fault in found} <= {"MC402"}


def test_a_fault_in_a_let_keeps_its_place() -> None:
    text = "let a = b\nlet b = 1 / 0\nx : h d -> y : h d where h = a"
    (fault, *_) = check(parse(text), key_set("x")).diagnostics
    assert fault.code == "MC108"


# --- what findings cost


FAULTY = {
    "rules": lambda count: "".join(f"a.x{k} -> b.x{k}\n" for k in range(count)),
    "drop": lambda count: f'drop {", ".join(f"x{k}.{{i}}" for k in range(count))} because "no" where i < 2\n',
    "external": lambda count: f'external {", ".join(f"x{k}" for k in range(count))} because "no"\n',
}


@pytest.mark.parametrize("kind", [pytest.param("rules", marks=pytest.mark.slow), "drop", "external"])
def test_what_findings_cost_grows_with_their_number(kind: str) -> None:
    keys = key_set("a")
    assert_grows_with_its_input(lambda count: lambda: check(parse(FAULTY[kind](count)), keys, keys), 200)


def test_a_long_name_is_walked_once_for_each_place_where_a_deep_star_may_end() -> None:
    def match(count: int) -> Callable[[], object]:
        trie = Trie(".")
        for variant in variants(Pattern((Deep(), Text(".a.b"))), "."):
            trie.add(None, variant)
        return lambda: trie.match(".".join("a" * count))

    assert_grows_with_its_input(match, 500)
