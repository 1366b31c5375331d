"""A conversion script as text: what it needs of ``standalone``, its functions, its tables."""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple

from mapcc.emit.layout import WIDTH, Expr, call, flat, text
from mapcc.emit.pysource import assigned, assigned_list, comment, function, quoted
from mapcc.emit.script_library import AFTER, BEFORE, imports, library, needed
from mapcc.emit.script_operands import Function, Helpers
from mapcc.emit.script_rows import FAMILY, Brackets, Family, Folded, index
from mapcc.text import Span

RowExpr = Callable[[Folded, Brackets], Expr]
Sections = Iterable[tuple[Sequence[str], Sequence[Folded]]]

DOCSTRING = '''"""Convert a checkpoint of safetensors files: python {file} SOURCE OUT

SOURCE is a file, or the folder of its files; its names, types and shapes must be those of the table
SOURCE below. OUT must not be there yet: it appears when it is complete, or not at all.

One tensor is written at a time: the memory that this takes is that of the largest output tensor, of
the tensors that it is made of, and of one copy where they are rearranged. Bits are moved as they are.
Needs numpy, and nothing else.
"""'''

MAIN = """def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), print)
    except (OSError, ValueError) as error:
        print(f"nothing was written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())"""


class SourceKey(NamedTuple):
    """What is the same in all rows of the source that are folded to one."""

    dtype: str
    shape: tuple[int, ...]


class Key(NamedTuple):
    """What is the same in all rows of the outputs that are folded to one.

    Attributes:
        inputs: for each parameter 1, or how many templates and which numbers its list is made of.
    """

    make: str
    dtype: str
    shape: tuple[int, ...]
    inputs: tuple[tuple[int, Family] | int, ...]
    sizes: tuple[tuple[str, int | str], ...]
    places: tuple[str, ...]


@dataclass(slots=True)
class Names:
    """The functions of the script: by rule and text, each under one name."""

    functions: dict[tuple[Hashable, str], tuple[str, Function, str]] = field(default_factory=dict)

    def function(self, made: Function, span: Span, home: str) -> str:
        key = (span, made.text)
        if key not in self.functions:
            taken = {name for name, _, _ in self.functions.values()}
            name, number = f"line_{span.line}", 1
            while name in taken:
                number += 1
                name = f"line_{span.line}_{number}"
            self.functions[key] = (name, made, place(span, home))
        return self.functions[key][0]


def place(span: Span, home: str) -> str:
    """A comment with the line of a rule and its text."""
    file = "" if span.source.name == home else f" of {quoted(PurePath(span.source.name).name)}"
    where = f"line {span.line}{file}: "
    return comment(where + quoted(shortened(" ".join(span.text.split()), WIDTH - len(where))))


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


class Script(NamedTuple):
    """All that goes into a script."""

    title: Sequence[str]
    brackets: Brackets
    helpers: Helpers
    names: Names
    source_files: Sequence[str]
    source: Sections
    dropped: Sections
    outputs: Sections
    files: Sequence[tuple[str, int, int]]
    index_file: str
    metadata: dict[str, str]


def render(script: Script) -> str:
    """The script; what it needs of ``standalone`` comes with it, and no more."""
    own = list(_functions(script))
    tables_ = list(_tables(script))
    wanted = needed("\n".join([*own, *tables_, MAIN]))
    front = [library(module, wanted) for module in BEFORE]
    back = [library(module, wanted) for module in AFTER]
    blocks = [*front, own, ["\n\n".join(tables_)], *back, [MAIN]]
    body = "\n\n\n".join(part for block in blocks for part in block)
    imported = imports(wanted | {"sys", "Path"})
    head = "\n".join([DOCSTRING.format(file="convert.py"), "", *script.title])
    first = next(line for line in body.splitlines() if not line.startswith("#"))
    gap = "\n\n\n" if first.startswith(("def ", "class ")) else "\n\n"  # as ruff has it
    source = f"{head}\n\n{imported}{gap}{body}\n"
    assert source.isascii()
    ast.parse(source)
    return source


# --- the script's own part


def _functions(script: Script) -> Iterator[str]:
    for lines, name in script.helpers.names.items():
        yield "\n".join(function(name, ["x"], (), lines))
    for name, made, where in script.names.functions.values():
        yield "\n".join(function(name, made.parameters, (where,), made.lines))


def _tables(script: Script) -> Iterator[str]:
    yield "\n".join(
        [
            comment("What the source must have: name, type, shape."),
            *assigned("SOURCE_FILES", call("", map(text, script.source_files), "[]")),
            *_table("SOURCE", script.source, source_row, script.brackets),
        ]
    )
    why = [comment("What is left out, and why.")] if script.dropped else []
    yield "\n".join([*why, *_table("DROPPED", script.dropped, dropped_row, script.brackets)])
    yield "\n".join(
        [
            comment("What is written: name, and what it is made of."),
            *_table("OUTPUTS", script.outputs, output_row, script.brackets),
        ]
    )
    files = [call("", [text(name), str(count), str(size)]) for name, count, size in script.files]
    metadata = [f"{text(key)}: {text(value)}" for key, value in script.metadata.items()]
    yield "\n".join(
        [
            comment("The files: name, how many tensors, bytes before the first tensor."),
            *assigned("FILES", call("", files, "[]")),
            *assigned("INDEX_FILE", text(script.index_file)),
            *assigned("METADATA", call("", metadata, "{}")),
        ]
    )


def _table(name: str, sections: Sections, row: RowExpr, brackets: Brackets) -> list[str]:
    return assigned_list(
        name, [(comments, [row(one, brackets) for one in rows]) for comments, rows in sections]
    )


def source_row(folded: Folded, brackets: Brackets) -> Expr:
    key = folded.key
    assert isinstance(key, SourceKey)
    return _row(folded, [text(folded.names[0]), text(key.dtype), _shape(key.shape)])


def dropped_row(folded: Folded, brackets: Brackets) -> Expr:
    return _row(folded, [text(folded.names[0])])


def output_row(folded: Folded, brackets: Brackets) -> Expr:
    key = folded.key
    assert isinstance(key, Key)
    inputs = list(_inputs(key, folded.names[1:], brackets))
    if key.make == "renamed":
        return _row(folded, [text(folded.names[0]), *inputs])
    numbers = dict(zip(key.places, folded.numbers, strict=True))
    sizes = [f"{name}={_value(value)}" for name, value in (*key.sizes, *numbers.items())]
    head = [text(folded.names[0]), text(key.dtype), _shape(key.shape), key.make]
    return _row(folded, [*head, call("", inputs, "[]"), call("dict", sizes) if sizes else "{}"])


def _row(folded: Folded, items: Sequence[Expr]) -> Expr:
    if folded.repeat is None:
        return call("", items)
    how, index_ = folded.repeat
    return call(f"*{how}", [index_, *items])


def _inputs(key: Key, names: Sequence[str], brackets: Brackets) -> Iterator[Expr]:
    at = 0
    for one in key.inputs:
        if isinstance(one, int):
            yield text(names[at])
            at += 1
            continue
        count, own = one
        templates = list(map(text, names[at : at + count]))
        at += count
        given = index({own.values: FAMILY}, brackets) if own.values else None
        yield call("family", [given[1], *templates]) if given else call("", templates, "[]")


def _value(value: int | str) -> str:
    return text(value) if isinstance(value, str) else str(value)


def _shape(shape: Sequence[int]) -> Expr:
    return flat(call("", map(str, shape)))
