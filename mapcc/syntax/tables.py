"""The parser's tables. Made from the grammar, which takes longer than a small check, and kept beside it.

As a script, writes them anew after a change of the grammar: ``python -m mapcc.syntax.tables``. Tables
of another grammar or another Lark are not used, so a stale file costs time and nothing else.
"""

from __future__ import annotations

import json
import pickle
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import lark
from lark import Lark

from mapcc import resources

# Each set of rules that a text can be by itself, and the name of its tables. They are apart: one parser
# for all would expect the end of the text in places where a mapping cannot end.
STARTS = {
    "mapping": ("mapping",),
    "fragments": ("side", "names", "shape", "expr", "filled", "modifiers"),
}


@cache
def parser(name: str) -> Lark:
    """The parser for one of ``STARTS``."""
    return load(name, resources.grammar()) or build(name, resources.grammar())


def build(name: str, grammar: str) -> Lark:
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=list(STARTS[name]),
        propagate_positions=True,
        maybe_placeholders=False,
    )


def dump(name: str, grammar: str) -> str:
    """The tables of a grammar as text: the same text for the same grammar and the same Lark."""
    saved = BytesIO()
    build(name, grammar).save(saved)
    kept: dict[str, Any] = pickle.loads(saved.getvalue())
    kept["data"]["parser"]["parser"] = _renumbered(kept["data"]["parser"]["parser"])
    return json.dumps({"lark": lark.__version__, "grammar": grammar, **kept}, separators=(",", ":")) + "\n"


def _renumbered(table: dict[str, Any]) -> dict[str, Any]:
    """Lark numbers tokens and states as sets are ordered, which is another order in every process."""
    words: dict[int, str] = table["tokens"]
    tokens = {word: number for number, word in enumerate(sorted(words.values()))}
    # By token, what to do: (0, go to this state) or (1, reduce by this rule).
    ways = {
        state: sorted((tokens[words[token]], *action) for token, action in actions.items())
        for state, actions in table["states"].items()
    }
    waiting = [state for _, state in sorted(table["start_states"].items(), reverse=True)]
    number: dict[int, int] = {}
    while waiting:
        state = waiting.pop()
        if state not in number:
            number[state] = len(number)
            waiting += [to for _, is_reduced, to in ways[state] if not is_reduced]
    return {
        **table,
        "tokens": {k: word for word, k in tokens.items()},
        "states": {
            number[state]: {
                token: (is_reduced, to if is_reduced else number[to]) for token, is_reduced, to in ways[state]
            }
            for state in number
        },
        "start_states": {name: number[state] for name, state in sorted(table["start_states"].items())},
        "end_states": {name: number[state] for name, state in sorted(table["end_states"].items())},
    }


def load(name: str, grammar: str) -> Lark | None:
    """The parser from its tables; None if there are none, or they are of something else."""
    try:
        kept = json.loads(place(name).read_bytes())
    except FileNotFoundError:
        return None
    if kept["lark"] != lark.__version__ or kept["grammar"] != grammar:
        return None
    # What Lark knows by number, JSON has by text.
    table = kept["data"]["parser"]["parser"]
    table["states"] = {int(state): actions for state, actions in table["states"].items()}
    kept["memo"] = {int(number): value for number, value in kept["memo"].items()}
    return Lark.load(kept)


def place(name: str) -> Path:
    return resources.grammars() / f"{name}.tables.json"


if __name__ == "__main__":
    for name in STARTS:
        place(name).write_text(dump(name, resources.grammar()), encoding="utf-8")
