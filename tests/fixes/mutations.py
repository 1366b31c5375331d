"""Mappings that are right, made wrong in the ways that people make them wrong; the same ones each time."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from tests.fixes.promise import Shape

Shapes = dict[str, Shape]
Mutation = Callable[[random.Random, str], str]

_NAME = re.compile(r"[A-Za-z_]{3,}")
_GROUP = re.compile(r"\{([^{}=]*,[^{}]*)\}")
_INDEX = re.compile(r"\.?\{[a-z]\w*\}")
_WORDS = {"drop", "external", "because", "where", "keep", "create", "optional", "mapping", "about", "let"}


def statements(text: str) -> list[tuple[int, int]]:
    """The lines of statements that stand on one line each."""
    out, at = [], 0
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if "->" in bare and not bare.startswith(("#", "->")) and not bare.endswith("{"):
            out.append((at, at + len(line)))
        at += len(line)
    return out


def _chosen(random: random.Random, text: str) -> tuple[int, int] | None:
    lines = statements(text)
    return random.choice(lines) if lines else None


def without_a_rule(random: random.Random, text: str) -> str:
    line = _chosen(random, text)
    return text if line is None else text[: line[0]] + text[line[1] :]


def with_a_rule_twice(random: random.Random, text: str) -> str:
    line = _chosen(random, text)
    return text if line is None else text[: line[1]] + text[line[0] :]


def _in_a_line(random: random.Random, text: str, pattern: re.Pattern[str], new: Callable[[str], str]) -> str:
    line = _chosen(random, text)
    if line is None:
        return text
    found = [m for m in pattern.finditer(text, *line) if m[0] not in _WORDS]
    if not found:
        return text
    match = random.choice(found)
    return text[: match.start()] + new(match[0]) + text[match.end() :]


def with_a_misspelt_name(random: random.Random, text: str) -> str:
    def misspelt(word: str) -> str:
        at = random.randrange(1, len(word))
        kinds = (
            word[:at] + word[at + 1 :],
            word[:at] + random.choice("aeinorst") + word[at:],
            word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :],
        )
        return random.choice(kinds)

    return _in_a_line(random, text, _NAME, misspelt)


def with_another_order(random: random.Random, text: str) -> str:
    def turned(group: str) -> str:
        members = group[1:-1].split(",")
        return "{" + ",".join(members[1:] + members[:1]) + "}"

    return _in_a_line(random, text, _GROUP, turned)


def without_a_member(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, _GROUP, lambda group: "{" + group[1:-1].partition(",")[2] + "}")


def without_an_index(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, _INDEX, lambda index: "")


def with_another_index(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, re.compile(r"\{[a-z]\}"), lambda index: "{zz}")


def with_a_shifted_index(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, re.compile(r"\{[a-z]\}"), lambda index: index[:-1] + "+1}")


def with_another_star(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, re.compile(r"\*+"), lambda star: "**" if star == "*" else "*")


def without_a_star(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, re.compile(r"\.\*+"), lambda star: "")


def with_another_arrow(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, re.compile(r"->"), lambda arrow: random.choice(["=>", "<->", "\u2192"]))


def without_a_space(random: random.Random, text: str) -> str:
    heads = [match.start() for match in re.finditer(r" \{\s*$", text, re.MULTILINE)]
    at = random.choice(heads) if heads else None
    return text if at is None else text[:at] + text[at + 1 :]


def without_a_shape(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, re.compile(r" : [^|>\-\n]*(?=->|$| where)"), lambda shape: " ")


def with_another_word(random: random.Random, text: str) -> str:
    words = list(re.finditer(r"(?<=where )\w+|(?<=\| )\w+|(?<=cast )\w+", text))
    if not words:
        return text
    word = random.choice(words)
    return text[: word.end() - 1] + text[word.end() :] if len(word[0]) > 1 else text


def without_its_where(random: random.Random, text: str) -> str:
    return _in_a_line(random, text, re.compile(r"\s+where [^\n]*"), lambda where: "")


TEXT_MUTATIONS: tuple[Mutation, ...] = (
    without_a_rule,
    with_a_rule_twice,
    with_a_misspelt_name,
    with_another_order,
    without_a_member,
    without_an_index,
    with_another_index,
    with_a_shifted_index,
    with_another_star,
    without_a_star,
    with_another_arrow,
    without_a_space,
    without_a_shape,
    with_another_word,
    without_its_where,
)


def mutated_keys(random: random.Random, shapes: Shapes) -> Shapes:
    """A key set with a name misspelt, absent, one too many, or of another shape."""
    names = list(shapes)
    name = random.choice(names)
    out = dict(shapes)
    match random.randrange(6):
        case 0:
            del out[name]
        case 1:
            out[name + random.choice(["", ".extra", "_x", " y", "*"]) or "z"] = shapes[name]
        case 2:
            segment = random.choice(name.split("."))
            out = {each.replace(segment, segment + "s") if segment else each: s for each, s in shapes.items()}
        case 3:
            out[name] = (*shapes[name], 1)
        case 4:
            out[name] = tuple(reversed(shapes[name]))
        case _:
            out[random.choice(["*", "<s0>", "a..b", "drop", "a b", '"', "{i}", "x.[t]", ".", "#"])] = (2,)
    return out


def mutations(
    text: str, source: Shapes, target: Shapes, count: int, seed: str
) -> Iterator[tuple[str, Shapes, Shapes]]:
    """``count`` mutations of a mapping or of its key sets."""
    chance = random.Random(seed)
    for number in range(count):
        kind = number % (len(TEXT_MUTATIONS) + 3)
        if kind < len(TEXT_MUTATIONS):
            yield TEXT_MUTATIONS[kind](chance, text), source, target
        elif chance.random() < 0.5:
            yield text, mutated_keys(chance, source), target
        else:
            yield text, source, mutated_keys(chance, target)


# --- YAML


def _items(text: str) -> list[tuple[int, int]]:
    """The items of the list of rules, from its dash to the next."""
    starts = [match.start() for match in re.finditer(r"^  - ", text, re.MULTILINE)]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def mutated_yaml(chance: random.Random, text: str) -> str:
    """A mapping in YAML with an item away, or twice, or with a letter away or too many."""
    items = _items(text)
    start, end = chance.choice(items)
    match chance.randrange(4):
        case 0:
            return text[:start] + text[end:]
        case 1:
            return text[:end] + text[start:end] + text[end:]
        case _:
            words = list(_NAME.finditer(text))
            word = chance.choice(words)
            at = chance.randrange(word.start() + 1, word.end())
            new = chance.choice(["", "", "ee"])
            return text[:at] + new + text[at + 1 :]
