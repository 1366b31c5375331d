"""Plans as files: what is read is what was written, and what anybody could have written is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from mapcc.plan import make_plan, segments
from mapcc.plan.document import PlanFault, digest, dump_plan, load_plan

Bound = Callable[..., Any]
RULES = "x : a b -> y : b a\nq -> r\n(g, v) | weight_norm dim=0 -> w\nc | scale 2 -> c"
TENSORS = {
    "x": ("F32", (8, 8)), "q": ("U8", (50,)), "g": ("F32", (8, 1)), "v": ("F32", (8, 8)), "c": ("F32", (5,))
}  # fmt: skip
BIG = 2**70
VALUES: list[Any] = [
    None,
    "1",
    0.5,
    True,
    -1,
    BIG,
    10**6,
    [],
    {},
    [[]],
    "../x.safetensors",
    "fold",
    float("nan"),
]


@pytest.fixture(params=["gathered", "turned"])
def document(request: pytest.FixtureRequest, bound: Bound, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(segments, "ROW", 1 if request.param == "turned" else 4096)
    plan = make_plan(bound(RULES, TENSORS), max_shard_size=300)
    text = dump_plan(plan)
    read = load_plan(text)
    assert (digest(read), dump_plan(read)) == (digest(plan), text)
    assert [f.segments for f in read.files] == [f.segments for f in plan.files]
    return json.loads(text)


def signed(content: Any) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return json.dumps({"mapcc plan": 1, "sha256": sha256(text.encode()).hexdigest(), "plan": content})


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    members = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in members:
        found += places(value, (*path, key))
    return found


def test_every_value_replaced_by_others(document: Any) -> None:
    """A fault, or a plan: nothing else is raised; and no plan leaves its files."""
    tried = refused = 0
    for path in places(document["plan"]):
        for value in VALUES:
            content = copy.deepcopy(document["plan"])
            at = content
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
            tried += 1
            try:
                plan = load_plan(signed(content))
            except PlanFault:
                refused += 1
                continue
            for file in plan.files:
                assert "/" not in file.name
                assert all(len(file.header) <= s.begin < s.end <= file.size for s in file.segments)
    print(f"tried={tried} refused={refused}")
    assert tried > 1500
    assert refused > 0.8 * tried


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mapcc plan": 9}', '{"mapcc plan": 1}', "[" * 100_000])
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(PlanFault):
        load_plan(text)


def test_a_change_is_seen(document: Any) -> None:
    document["plan"]["bytes"][0] += 1
    with pytest.raises(PlanFault, match="changed"):
        load_plan(json.dumps(document))
