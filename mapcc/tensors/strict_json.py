"""JSON in which nothing can be meant in two ways: no key twice, no surrogates, numbers as asked."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NoReturn

Numbers = Literal["naturals", "numbers", "floats"]

# Outside of strings these stand only here; within a string the patterns may occur as well.
_SIGN = re.compile(r"(?:\A|[\[:,])[ \t\n\r]*-")
_BOOLEAN = re.compile(r"(?:\A|[\[:,])[ \t\n\r]*(?:true|false)")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
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
    def __init__(self, text: str) -> None:
        super().__init__(f"the number {text[:40]} is not a natural number")
        self.text = text


def loads(text: str, numbers: Numbers = "naturals") -> object:
    """The value of ``text``. ``JsonFault`` for anything else, nesting without bounds included.

    ``naturals`` takes integers from 0 only, and no booleans, which Python takes for
    integers; ``numbers`` any finite number; ``floats`` also ``NaN`` and ``Infinity``,
    which configs on the Hub do have.

    >>> loads('{"a": 1, "a": 1}')
    Traceback (most recent call last):
    mapcc.tensors.strict_json.JsonFault: the key "a" stands twice
    """
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
        raise JsonFault("JSON: a number with too many digits") from None
    if numbers == "naturals" and ("true" in text or "false" in text) and _BOOLEAN.search(text):
        _refuse_booleans(value)
    if "\\" in text and _SURROGATE.search(text):
        _refuse_surrogates(text)
    return value


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


def _natural(text: str) -> int:
    if text.startswith("-"):
        raise _Number(text)
    return int(text)


def _refuse_float(text: str) -> NoReturn:
    raise _Number(text)


def _refuse_constant(text: str) -> NoReturn:
    raise JsonFault(f"{text} is not JSON")


def _refuse_booleans(value: object) -> None:
    inside = [value]
    while inside:
        one = inside.pop()
        if isinstance(one, bool):
            raise JsonFault(f"{json.dumps(one)} is not a natural number")
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
