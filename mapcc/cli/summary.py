"""Results in words: what a clean check found, what ``show`` lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mapcc.api import Checked
from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.render import plural
from mapcc.passes.describe import Piece, Shown
from mapcc.passes.under import left_out
from mapcc.passes.verdict import Kind

if TYPE_CHECKING:
    from mapcc.runtime.losses import RuleLosses

# Of a rule's tensors, as many lines of names are told.
_NAMES = 5


def summary(checked: Checked) -> str:
    """Two lines: how many tensors, and what can be got back."""
    bound = checked.bound
    assert bound is not None
    taken, given = len(bound.source.tensors), len(bound.given)
    sides = f"{plural(taken, 'source tensor')} -> {plural(given, 'target tensor')}"
    listed = [f"{len(bound.dropped)} dropped"] if bound.dropped else []
    listed += [f"{len(bound.external)} external"] if bound.external else []
    listed += [] if bound.target else ["target not checked: no --target"]
    extra = f" ({', '.join(listed)})" if listed else ""
    results = checked.verdicts().values()
    kinds = Counter(result.kind for result in results)
    counted = ", ".join(f"{kinds[kind]} {kind}" for kind in Kind if kinds[kind])
    lines = [f"clean: {sides}{extra}", f"rules: {counted or 'none'}"]
    if elsewhere := left_out(bound):
        lines.append(f"left out: {plural(elsewhere, 'source tensor')} outside of the prefix")
    reasons = Counter(reason for result in results if result.kind is Kind.LOSSY for reason in result.reasons)
    lines += [f"  lost: {escape(reason)}" for reason in reasons]
    return "\n".join(lines)


def loss_lines(losses: Iterable[RuleLosses]) -> Iterator[str]:
    """What the operations of each rule have lost, and in which tensors."""
    unwanted = False
    for one in losses:
        names = fold(list(one.tensors))
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        yield f"  {escape(one.rule)}"
        yield f"    {one.words}: {escape(', '.join(names[:_NAMES]))}{more}"
        unwanted |= bool(one.totals.keys() & {"infinite", "nan"})
    if unwanted:
        yield "  '| clamp' before a cast takes the largest number that the type has"


def shown_lines(shown: Shown, side: str) -> list[str]:
    kind = shown.dtype.name if shown.dtype else "?"
    lines = [f"{escape(shown.name)}  {kind} {list(shown.shape)}"]
    arrow = "<-" if side == "target" else "->"
    for piece in shown.pieces:
        here = f"{piece.here} " if piece.here else ""
        lines.append(f"    {here}{arrow} {_other(piece)}")
    if shown.reason:
        lines.append(f"    {escape(shown.reason)}")
    if shown.rule is not None:
        lines.append(f"    rule {escape(str(shown.rule))}")
    return lines


def _other(piece: Piece) -> str:
    words = escape(", ".join(piece.names))
    if len(piece.names) > 1:
        words = f"({words})"
    if piece.part:
        words = f"{words} {piece.part}".strip()
    return f"{words} | {piece.steps}" if piece.steps else words


def shown_json(shown: Shown) -> dict[str, object]:
    return {
        "name": shown.name,
        "dtype": shown.dtype.name if shown.dtype else None,
        "shape": list(shown.shape),
        "rule": str(shown.rule) if shown.rule else None,
        "reason": shown.reason,
        "pieces": [
            {"names": list(p.names), "part": p.part, "here": p.here, "steps": p.steps} for p in shown.pieces
        ],
    }
