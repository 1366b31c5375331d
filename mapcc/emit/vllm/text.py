"""The emitted ``WeightsMapper``: entries under the rules that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from mapcc.dialects.vllm.engine import Kind, Rule
from mapcc.emit.entries import Level
from mapcc.emit.notes import emitted_by, home, line, place, written_out
from mapcc.emit.pysource import Keyword, Literal, Section, assigned_call, comment, imports, quoted
from mapcc.emit.vllm.entries import Dropping, Line, Moving, Signs
from mapcc.ir.bound import BoundMapping
from mapcc.text import Span

VARIABLE = "hf_to_vllm_mapper"


def render(bound: BoundMapping, lines: Sequence[Line], moving: Sequence[Moving], signs: Signs) -> str:
    before = [comment(each) for each in _header(bound, lines, moving, signs)]
    before.append(imports(["re"], [], ["from vllm.model_executor.models.utils import WeightsMapper", ""]))
    file = home(bound)
    keywords = []
    for kind, wrap in ((Kind.REGEX, "re.compile"), (Kind.STACKED, "")):
        own = [each for each in lines if each.rule.kind is kind]
        if own:
            keywords.append(Keyword(f"orig_to_new_{kind.word}", tuple(_sections(own, file)), wrap))
    if signs.first:
        keywords.append(Keyword("orig_to_new_prefix", (Section((), ((signs.first, ""),)),)))
    return assigned_call(VARIABLE, "WeightsMapper", before, keywords)


def _sections(lines: Sequence[Line], file: str) -> Iterator[Section]:
    """The entries in their order; the rule of several that follow each other is told once."""
    for (span, notes), group in groupby(lines, key=_place):
        entries = tuple((each.rule.old, _value(each.rule)) for each in group)
        yield Section((comment(place(span, file)), *notes), entries)


def _place(line: Line) -> tuple[Span, tuple[str, ...]]:
    """The rule that an entry comes from, and what is to be said of its entries."""
    if isinstance(line.owner, Dropping):
        return line.owner.listed.span, ()
    return line.owner.candidate.equation.span, written_out(line.owner.candidate)


def _value(rule: Rule) -> Literal:
    return (rule.new, *rule.shards) if rule.shards else rule.new


def _header(
    bound: BoundMapping, lines: Sequence[Line], moving: Sequence[Moving], signs: Signs
) -> Iterator[str]:
    file = home(bound)
    yield emitted_by(bound)
    count = len(bound.source.tensors)
    yield f"Replayed over all {count} names of the source as vLLM applies it: each gets the name, and"
    yield "the shard, that the mapping gives it, or is left out as the mapping leaves it out."
    yield ""
    yield "Its place is the model's class; its load_weights passes it on:"
    yield f"AutoWeightsLoader(self).load_weights(weights, mapper=self.{VARIABLE})"
    if any(each.rule.shards for each in lines):
        yield ""
        yield "Shards 'q', 'k' and 'v' are those of QKVParallelLinear, numbers those of"
        yield "MergedColumnParallelLinear: on one device they lie one behind the other along dimension 0."
    if signs.first:
        yield ""
        yield "vLLM applies each expression that is found, one after the other. A name that is done begins"
        yield f"with {quoted(signs.first)}, which no other expression matches, and a prefix takes it away."
    kept = {
        owner.candidate.equation.span: None for owner in moving if owner.candidate.level is Level.LEFT_OUT
    }
    if kept:
        yield ""
        yield "A name in which nothing is found stays as it is, so these need no entry:"
        yield from (f"    {place(span, file)}" for span in kept)
    matched = {owner.candidate.equation for owner in moving}
    unmatched = {equation.span: None for equation in bound.program.equations if equation not in matched}
    if unmatched:
        yield ""
        yield "The source has nothing for these, so they could not be tried, and have no entry:"
        yield from (f"    {line(span, file)}: {quoted(' '.join(span.text.split()))}" for span in unmatched)
