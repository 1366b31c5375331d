"""``drop X same as Y``: which tensor each dropped one is a copy of, and whether it can be one."""

from __future__ import annotations

from functools import partial

from mapcc.ir.notation import print_name
from mapcc.ir.program import Listed
from mapcc.passes.binder import Binder, NoValue
from mapcc.passes.listed import equation_of
from mapcc.passes.match import Trie
from mapcc.passes.resolve import Resolver, Values
from mapcc.passes.segments import variants
from mapcc.passes.words import regex_names
from mapcc.passes.writer import NegativeIndex, name_writer


def find_copies(binder: Binder) -> None:
    """Fill in the copies of the bound mapping. MC413 for what is no copy, whatever its values are."""
    claims = [listed for listed in binder.program.drops if listed.same_as is not None]
    if not claims:
        return
    for listed in claims:
        for name, other in _pairs(binder, listed):
            if other is None or other not in binder.source.tensors:
                what = print_name(listed.same_as) if listed.same_as else ""
                message = f"dropped as the same as {what}, which the source does not have"
                _refuse(binder, listed, message, name, "name the tensor that stays")
            else:
                binder.bound.copies[name] = other
    for name, other in list(binder.bound.copies.items()):
        listed = binder.bound.dropped[name]
        if other == name or other in binder.bound.copies:
            message = f"dropped as the same as {other}, which is dropped as a copy itself"
            _refuse(binder, listed, message, name, "name the tensor that stays")
            continue
        a, b = binder.source.tensors[name], binder.source.tensors[other]
        if a.shape != b.shape or (a.dtype and b.dtype and a.dtype is not b.dtype):
            ours, theirs = (f"{spec.dtype.name if spec.dtype else ''} {list(spec.shape)}" for spec in (a, b))
            message = f"no copy of {other}: it is {ours.strip()}, that is {theirs.strip()}"
            _refuse(binder, listed, message, name, "give it a rule of its own, or drop it for another reason")


def _pairs(binder: Binder, listed: Listed) -> list[tuple[str, str | None]]:
    assert listed.same_as is not None
    trie = Trie(listed.separator)
    for variant in variants(listed.name, listed.separator):
        trie.add(None, variant)
    equation = equation_of(listed)
    resolver = binder.listed_resolver(listed)
    writer = name_writer(listed.same_as, listed.separator, equation.variables, regex_names(equation))
    out: list[tuple[str, str | None]] = []
    for name, taker in binder.bound.dropped.items():
        if taker is not listed:
            continue
        for leaf, texts in trie.match(name):
            try:
                resolved = binder.resolve(resolver, leaf, texts, listed.span)
                if resolved is None:
                    continue
                values = resolved[0]
                key = tuple(values[variable] for variable in equation.variables)
                other = writer.write(key, (), partial(_parameter, resolver, values))
            except (NoValue, NegativeIndex):
                other = None
            out.append((name, other))
            break
    return out


def _parameter(resolver: Resolver, values: Values, word: str) -> int:
    return resolver.parameter(word, values)


def _refuse(binder: Binder, listed: Listed, message: str, name: str, help: str) -> None:
    binder.findings.add("MC413", message, listed.span, name, help=help)
