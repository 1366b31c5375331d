"""The machine that a pickle is a program for, without what makes it dangerous: nothing is imported or called.

A pickle names functions and classes and calls them; here a name stays a name (:class:`Named`), and a
call becomes a value: a container, a record of a tensor, or a stand-in (``make`` says which). So there is no
function that a pickle could reach. It cannot be made to take more than its budget either: each step
costs what the value takes in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from mapcc.tensors.values import Named, StandIn

LONG_TEXT = 1 << 16  # bytes: what is longer is no name of a tensor, and not kept
MAX_NUMBER = 1 << 10  # bytes of one integer
MAX_KEY = 1 << 60  # beyond, integers have hashes that can be made equal
BUDGET = 352 << 20

_TOO_MUCH = "it has more values than a checkpoint has"
_STEP, _SLOT, _TEXT, _BOX = 32, 64, 56, 64


class MachineFault(Exception):
    """What is wrong with a pickle."""


class CutShort(MachineFault):
    """It goes on where its bytes end."""


class Machine:
    """Runs one pickle.

    Attributes:
        raw: bytes with the pickle in them; ``at`` is where it begins, and after :meth:`run` where it ends.
        make: called with a name and the arguments of a call; what it gives is the result.
        persistent: called with the names of storages.
        room: how many bytes its values may still take. ``make`` pays for copies with :meth:`pay`.
    """

    __slots__ = ("at", "make", "memo", "outer", "persistent", "raw", "room", "stack")

    def __init__(
        self,
        raw: bytes,
        make: Callable[[Machine, str, object], object],
        persistent: Callable[[object], object],
        at: int = 0,
        room: int = BUDGET,
    ) -> None:
        self.raw, self.at, self.room = raw, at, room
        self.make, self.persistent = make, persistent
        self.stack: list[object] = []
        self.outer: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """What the pickle makes.

        Raises:
            CutShort: the bytes end before it does.
            MachineFault: it is malformed, or wants more than its budget.
        """
        raw, steps, end, memo = self.raw, STEPS, len(self.raw), self.memo
        try:
            while self.at < end:
                at, stack = self.at, self.stack
                code = raw[at]
                self.at = at + 1
                self.room -= _STEP
                if self.room < 0:
                    raise MachineFault(_TOO_MUCH)
                # More than half of all instructions are these.
                if code == _GET:
                    stack.append(memo[raw[at + 1]])
                    self.at = at + 2
                elif code == _PUT_LONG:
                    memo[int.from_bytes(raw[at + 1 : at + 5], "little")] = stack[-1]
                    self.at, self.room = at + 5, self.room - _SLOT
                elif code == _SMALL:
                    stack.append(raw[at + 1])
                    self.at = at + 2
                elif code == _STOP:
                    return stack.pop()
                elif (step := steps.get(code)) is not None:
                    step(self)
                else:
                    raise MachineFault(f"it has no instruction {bytes((code,))!r}, at byte {at:,}")
        except (IndexError, KeyError):
            if self.at >= end:
                raise CutShort("it is cut short") from None
            raise MachineFault(f"it takes what is not there, at byte {self.at - 1:,}") from None
        except (ValueError, OverflowError, TypeError):
            raise MachineFault(f"it has a value that is none, at byte {self.at - 1:,}") from None
        raise CutShort("it is cut short")

    def pay(self, cost: int) -> None:
        self.room -= cost
        if self.room < 0:
            raise MachineFault(_TOO_MUCH)

    # What instructions are made of.

    def take(self, size: int) -> bytes:
        at = self.at
        if at + size > len(self.raw):
            raise CutShort("it is cut short")
        self.at = at + size
        return self.raw[at : self.at]

    def line(self) -> bytes:
        end = self.raw.find(b"\n", self.at)
        if end < 0:
            raise CutShort("it is cut short")
        line = self.raw[self.at : end]
        self.at = end + 1
        return line

    def number(self, form: struct.Struct) -> int:
        (value,) = form.unpack(self.take(form.size))
        return int(value)

    def size(self, form: struct.Struct) -> int:
        size = self.number(form)
        if size < 0:
            raise ValueError(size)
        return size

    def since_mark(self) -> list[object]:
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def push(self, value: object, cost: int = _BOX) -> None:
        self.pay(cost)
        self.stack.append(value)

    def push_text(self, size: int) -> None:
        if size > LONG_TEXT:
            self.skip(size)
            self.push(StandIn("str"))
            return
        text = self.take(size).decode("utf-8", "surrogatepass")
        self.push(text, _TEXT + (size if text.isascii() else 4 * size))

    def push_bytes(self, size: int) -> None:
        if size > LONG_TEXT:
            self.skip(size)
            self.push(StandIn("bytes"))
        else:
            self.push(self.take(size), _TEXT + size)

    def push_string(self, size: int) -> None:
        """Text of Python 2."""
        self.push_bytes(size)
        raw = self.stack[-1]
        if isinstance(raw, bytes):
            self.stack[-1] = _text(raw)

    def skip(self, size: int) -> None:
        if self.at + size > len(self.raw):
            raise CutShort("it is cut short")
        self.at += size

    def push_integer(self, size: int) -> None:
        if size > MAX_NUMBER:
            raise ValueError(size)
        self.push(int.from_bytes(self.take(size), "little", signed=True), _TEXT + size)

    def call(self, function: object, args: object) -> None:
        name = function.name if isinstance(function, Named) else "?"
        self.push(self.make(self, name, args), 2 * _BOX)

    def put(self, slot: int) -> None:
        self.pay(_SLOT)
        self.memo[slot] = self.stack[-1]

    def set_items(self, target: object, items: list[object]) -> None:
        if len(items) % 2:
            raise MachineFault("it gives a key without a value")
        self.pay(_SLOT * len(items))
        if isinstance(target, StandIn):
            target.items = {} if target.items is None else target.items
            target = target.items
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[self.key(key)] = value

    def key(self, value: object) -> object:
        """A key of a dictionary. What could take long to be hashed, or to be told apart, is replaced."""
        if isinstance(value, tuple):
            self.pay(_SLOT * len(value))
            if all(not isinstance(part, tuple) and self.key(part) is part for part in value):
                return value
        elif isinstance(value, int):
            if abs(value) < MAX_KEY:
                return value
        elif isinstance(value, (str, bytes, float, Named, StandIn)) or value is None:
            return value
        return StandIn(type(value).__name__)

    def add(self, target: object, items: list[object]) -> None:
        self.pay(16 * len(items))
        if isinstance(target, list):
            target.extend(items)


def _text(raw: bytes) -> object:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


_BYTE, _HALF, _WORD, _INT = (struct.Struct(form) for form in ("<B", "<H", "<I", "<i"))
_LONG, _FLOAT = struct.Struct("<Q"), struct.Struct(">d")


def _proto(m: Machine) -> None:
    if m.number(_BYTE) > 5:
        raise MachineFault("it is of a protocol that Python does not have")


def _mark(m: Machine) -> None:
    m.pay(_BOX)
    m.outer.append(m.stack)
    m.stack = []


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.since_mark()


def _int_line(m: Machine) -> None:
    line = m.line()
    if len(line) > MAX_NUMBER:
        raise ValueError(line)
    m.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line.rstrip(b"L")))


def _string_line(m: Machine) -> None:
    """A literal of Python 2: what it says is of no use here, but for plain text."""
    line = m.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError(line)
    m.push(_text(line[1:-1]) if len(line) <= LONG_TEXT else StandIn("str"), _TEXT + len(line))


def _unicode_line(m: Machine) -> None:
    line = m.line()
    kept = len(line) <= LONG_TEXT
    m.push(line.decode("raw-unicode-escape") if kept else StandIn("str"), _TEXT + 4 * len(line))


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def make(m: Machine) -> None:
        if len(m.stack) < count:
            raise IndexError
        m.stack[-count:] = [tuple(m.stack[-count:])]
        m.pay(_BOX)

    return make


def _tuple(m: Machine) -> None:
    items = m.since_mark()
    m.push(tuple(items), _BOX + 8 * len(items))


def _list(m: Machine) -> None:
    m.push(m.since_mark())


def _dict(m: Machine) -> None:
    items = m.since_mark()
    made: dict[object, object] = {}
    m.set_items(made, items)
    m.push(made)


def _append(m: Machine) -> None:
    value = m.stack.pop()
    m.add(m.stack[-1], [value])


def _appends(m: Machine) -> None:
    items = m.since_mark()
    m.add(m.stack[-1], items)


def _set_item(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items(m.stack[-1], [key, value])


def _set_items(m: Machine) -> None:
    items = m.since_mark()
    m.set_items(m.stack[-1], items)


def _named(m: Machine) -> None:
    module, name = _word(m.line()), _word(m.line())
    m.push(Named(f"{module}.{name}"), _BOX + len(module) + len(name))


def _word(line: bytes) -> str:
    if len(line) > LONG_TEXT:
        raise ValueError(line)
    return line.decode()


def _stack_named(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise MachineFault("it names a class by something other than text")
    m.push(Named(f"{module}.{name}"), _BOX + 4 * (len(module) + len(name)))


def _reduce(m: Machine) -> None:
    args, function = m.stack.pop(), m.stack.pop()
    m.call(function, args)


def _new_with_words(m: Machine) -> None:
    _, args, kind = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.call(kind, args)


def _inst(m: Machine) -> None:
    _named(m)
    kind = m.stack.pop()
    m.call(kind, tuple(m.since_mark()))


def _obj(m: Machine) -> None:
    kind, *args = m.since_mark()
    m.call(kind, tuple(args))


def _build(m: Machine) -> None:
    """Only a stand-in has a state. That of a tensor is what its own call said, whatever comes later."""
    state = m.stack.pop()
    target = m.stack[-1]
    if isinstance(target, StandIn):
        target.state = state


def _persistent(m: Machine) -> None:
    pid = m.stack.pop()
    m.push(m.persistent(pid))


_STOP, _GET, _PUT_LONG, _SMALL = b".hrK"

STEPS: dict[int, Callable[[Machine], None]] = {
    ord(code): step
    for code, step in {
        b"\x80": _proto,
        b"\x95": lambda m: m.skip(8),  # frames are for readers of streams
        b"(": _mark,
        b"0": _pop,
        b"1": lambda m: m.since_mark() and None,
        b"2": lambda m: m.stack.append(m.stack[-1]),
        b"N": lambda m: m.stack.append(None),
        b"\x88": lambda m: m.stack.append(True),
        b"\x89": lambda m: m.stack.append(False),
        b"I": _int_line,
        b"L": _int_line,
        b"F": lambda m: m.push(float(m.line())),
        b"S": _string_line,
        b"V": _unicode_line,
        b"J": lambda m: m.push(m.number(_INT), 40),
        b"K": lambda m: m.stack.append(m.number(_BYTE)),
        b"M": lambda m: m.push(m.number(_HALF), 40),
        b"G": lambda m: m.push(_FLOAT.unpack(m.take(8))[0], 40),
        b"\x8a": lambda m: m.push_integer(m.number(_BYTE)),
        b"\x8b": lambda m: m.push_integer(m.size(_INT)),
        b"T": lambda m: m.push_string(m.size(_INT)),
        b"U": lambda m: m.push_string(m.number(_BYTE)),
        b"X": lambda m: m.push_text(m.number(_WORD)),
        b"\x8c": lambda m: m.push_text(m.number(_BYTE)),
        b"\x8d": lambda m: m.push_text(m.number(_LONG)),
        b"B": lambda m: m.push_bytes(m.number(_WORD)),
        b"C": lambda m: m.push_bytes(m.number(_BYTE)),
        b"\x8e": lambda m: m.push_bytes(m.number(_LONG)),
        b"\x96": lambda m: m.push_bytes(m.number(_LONG)),
        b"]": lambda m: m.push([]),
        b"}": lambda m: m.push({}, 2 * _BOX),
        b")": lambda m: m.stack.append(()),
        b"\x8f": lambda m: m.push([]),  # a set: a list, which needs no hashes
        b"l": _list,
        b"d": _dict,
        b"t": _tuple,
        b"\x85": _tuple_of(1),
        b"\x86": _tuple_of(2),
        b"\x87": _tuple_of(3),
        b"\x91": _list,  # a frozen set
        b"\x90": _appends,  # of a set
        b"a": _append,
        b"e": _appends,
        b"s": _set_item,
        b"u": _set_items,
        b"c": _named,
        b"\x93": _stack_named,
        b"R": _reduce,
        b"\x81": _reduce,
        b"\x92": _new_with_words,
        b"i": _inst,
        b"o": _obj,
        b"b": _build,
        b"Q": _persistent,
        b"g": lambda m: m.stack.append(m.memo[int(m.line())]),
        b"h": lambda m: m.stack.append(m.memo[m.number(_BYTE)]),
        b"j": lambda m: m.stack.append(m.memo[m.number(_WORD)]),
        b"p": lambda m: m.put(int(m.line())),
        b"q": lambda m: m.put(m.number(_BYTE)),
        b"r": lambda m: m.put(m.number(_WORD)),
        b"\x94": lambda m: m.put(len(m.memo)),
    }.items()
}
