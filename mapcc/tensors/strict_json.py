"""JSON in which nothing can be meant in two ways: no key twice, no surrogates, numbers as asked."""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NoReturn

BUDGET = 400 << 20  # bytes of memory that the values of one text may take

Numbers = Literal["naturals", "numbers", "floats"]

# Outside of strings these stand only here; within a string the patterns may occur as well.
_SIGN = re.compile(r"(?:\A|[\[:,])[ \t\n\r]*-")
_BOOLEAN = re.compile(r"(?:\A|[\[:,])[ \t\n\r]*(?:true|false)")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BLANK = " \t\n\r"
_ENTRY = re.compile(r'"([^"]*+)"[ \t\n\r]*+:[ \t\n\r]*+(\{[^{}]*+\})')
_FIRST_ENTRY = re.compile(r"[ \t\n\r]*+\{[ \t\n\r]*+" + _ENTRY.pattern)
_COLON = re.compile(r"[ \t\n\r]*:")


# Of JSON that was read once already: its texts whole, and what stands between them.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]|[^\s{}\[\]:,"]+')


class JsonFault(Exception):
    """Text that is not the JSON it should be: the rule that it breaks, and at which character, if known."""

    def __init__(self, rule: str, at: int | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.at = at


class _Twice(JsonFault):
    def __init__(self, key: str) -> None:
        super().__init__(f"the key {json.dumps(key)} stands twice")
        self.key = key


class _Number(JsonFault):
    def __init__(self, text: str, rule: str = "") -> None:
        super().__init__(rule or f"the number {text[:40]} is not a natural number")
        self.text = text


def check_cost(text: str | bytes) -> None:
    """``JsonFault`` if the values of a text would take more memory than ``BUDGET``: told by its punctuation.

    Millions of empty lists are a few bytes each in a file, and seventy in memory.
    """
    marks = ("[", "{", ",", '"')
    counts = [text.count(mark if isinstance(text, str) else mark.encode()) for mark in marks]  # type: ignore[arg-type]
    cost = sum(count * size for count, size in zip(counts, (72, 232, 40, 28), strict=True))
    if cost + 3 * len(text) > BUDGET:
        raise JsonFault(f"it has {sum(counts[:3]):,} values, and would take more than {BUDGET >> 20} MiB")


def loads(text: str, numbers: Numbers = "naturals") -> object:
    """The value of ``text``. ``JsonFault`` for anything else, nesting without bounds included.

    ``naturals`` takes integers from 0 only, and no booleans, which Python takes for
    integers; ``numbers`` any finite number; ``floats`` also ``NaN`` and ``Infinity``,
    which configs on the Hub do have.

    >>> loads('{"a": 1, "a": 1}')
    Traceback (most recent call last):
    mapcc.tensors.strict_json.JsonFault: the key "a" stands twice
    """
    check_cost(text)
    hooks: dict[str, Callable[[str], object]] = {}
    if numbers == "naturals":
        hooks["parse_float"] = _refuse_float
        if "-" in text and _SIGN.search(text):  # a hook for each integer is dear; Python reads -0 as 0
            hooks["parse_int"] = _natural
    if numbers != "floats":
        hooks["parse_constant"] = _refuse_constant
    try:
        with collector_off():
            value: object = json.loads(text, **hooks)  # type: ignore[arg-type]
            if text.count(":") > _keys(value):
                del value  # before there is another
                value = json.loads(text, object_pairs_hook=_once, **hooks)  # type: ignore[arg-type]
    except _Twice as fault:
        raise JsonFault(fault.rule, _second(text, fault.key)) from None
    except _Number as fault:
        raise JsonFault(fault.rule, _number(text, fault.text)) from None
    except json.JSONDecodeError as error:
        raise JsonFault(f"JSON: {error.msg.lower()}", error.pos) from None
    except RecursionError:
        raise JsonFault("JSON: nested too deeply") from None
    except ValueError:
        raise JsonFault("JSON: a number with too many digits", _long_number(text)) from None
    if numbers == "naturals" and ("true" in text or "false" in text) and _BOOLEAN.search(text):
        _refuse_booleans(value, text)
    if "\\" in text and _SURROGATE.search(text):
        _refuse_surrogates(text)
    return value


def load_entries(text: str, numbers: Numbers = "naturals") -> object:
    """Like ``loads``, and much faster where an object's many members are few flat objects, again and again.

    Members that are spelled alike are one value, which is not to be changed.

    >>> members = ", ".join(f'"{name}": {{"shape": [2]}}' for name in "abcdefgh")
    >>> entries = load_entries(f"{{{members}}}")
    >>> entries["h"], entries["a"] is entries["h"]
    ({'shape': [2]}, True)
    """
    check_cost(text)
    entries = None if "\\" in text else _entries(text, numbers)
    return loads(text, numbers) if entries is None else entries


def _entries(text: str, numbers: Numbers) -> dict[str, object] | None:
    if not _FIRST_ENTRY.match(text):
        return None
    pieces = _ENTRY.split(text)
    between, names, spelled = pieces[::3], pieces[1::3], pieces[2::3]
    different = dict.fromkeys(spelled)
    commas = {piece.strip(_BLANK) for piece in set(between[1:-1])}
    if len(different) * 8 > len(spelled) or not commas <= {","} or between[-1].strip(_BLANK) != "}":
        return None
    try:
        values = {one: loads(one, numbers) for one in different}
    except JsonFault:  # told with its place in the whole
        return None
    entries = {name: values[one] for name, one in zip(names, spelled, strict=True)}
    # A key twice, or a name that JSON or its reader may refuse: told by those who look closely.
    return entries if len(entries) == len(names) and "".join(names).isprintable() else None


def find_key(text: str, key: str) -> tuple[int, int] | None:
    """Where the quoted ``key`` of some object begins and ends in JSON text, if it is spelled in a usual way.

    >>> find_key('{"b": "a", "a": 1}', "a")
    (11, 14)
    """
    for spelled in (json.dumps(key), json.dumps(key, ensure_ascii=False)):
        at = text.find(spelled)
        while at >= 0:
            if _COLON.match(text, at + len(spelled)):
                return at, at + len(spelled)
            at = text.find(spelled, at + 1)
    return None


def _keys(value: object) -> int:
    """How many keys the two outermost levels have.

    A key needs a colon: where a text has no more of them, none stood twice, and a hook
    for each object, which is dear, is not needed.
    """
    if not isinstance(value, dict):
        return 0
    return len(value) + sum([len(inner) for inner in value.values() if type(inner) is dict])


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Twice(twice)
    return members


def _second(text: str, key: str) -> int | None:
    """Where ``key`` stands for the second time in one object."""
    objects: list[bool] = []  # for each object that is open, whether it has the key already
    for token in _TOKEN.finditer(text):
        if token[0] == "{":
            objects.append(False)
        elif token[0] == "}":
            objects.pop()
        elif token[0][0] == '"' and _COLON.match(text, token.end()) and json.loads(token[0]) == key:
            if objects[-1]:
                return token.start()
            objects[-1] = True
    return None


def _number(text: str, number: str) -> int | None:
    return next((token.start() for token in _TOKEN.finditer(text) if token[0] == number), None)


def _long_number(text: str) -> int | None:
    limit = sys.get_int_max_str_digits()
    numbers = (token for token in _TOKEN.finditer(text) if token[0].lstrip("-").isdigit())
    return next((token.start() for token in numbers if len(token[0]) > limit), None)


def _natural(text: str) -> int:
    if text.startswith("-"):
        raise _Number(text)
    return int(text)


def _refuse_float(text: str) -> NoReturn:
    raise _Number(text)


def _refuse_constant(text: str) -> NoReturn:
    raise _Number(text, f"{text} is not JSON")


def _refuse_booleans(value: object, text: str) -> None:
    inside = [value]
    while inside:
        one = inside.pop()
        if isinstance(one, bool):
            word = json.dumps(one)
            raise JsonFault(f"{word} is not a natural number", _number(text, word))
        if isinstance(one, dict):
            inside.extend(one.values())
        elif isinstance(one, list):
            inside.extend(one)


def _refuse_surrogates(text: str) -> None:
    """A pair of surrogate escapes is one character; half of one is none."""
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"', text):
        if "\\u" in match[0]:
            try:
                json.loads(match[0]).encode()
            except UnicodeEncodeError:
                raise JsonFault("a lone surrogate is not text", match.start()) from None


@contextmanager
def collector_off() -> Iterator[None]:
    """Pauses the garbage collector: among very many new objects it looks for cycles again and
    again, finds none, and doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
