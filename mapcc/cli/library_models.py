"""``mapcc identify``: which models a checkpoint holds, and the commands that were tried on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mapcc.cli.options import KEYS_HELP, Select, app
from mapcc.cli.output import say
from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.fold import fold

if TYPE_CHECKING:
    from mapcc.api.identifying import Fit, Fitted, Identified
    from mapcc.library.identify import Match
    from mapcc.tensors.spec import Manifest

OUT = "converted_weights"
SHOWN = 6  # lines of names for each kind of difference
_NEAR = 2  # models that it nearly is
_TIED = 4  # names for which the tensor that may be the same is looked for


@app.command(epilog="Example: mapcc identify model.safetensors")
def identify(
    source: Annotated[str, typer.Argument(metavar="SRC", help=KEYS_HELP)],
    select: Select = None,
) -> None:
    """Say which published models a checkpoint holds, from its names and shapes, and what fits them.

    Each command that is printed was tried on these names first. Ends with 0 if the library has one of
    the models, 1 if not.
    """
    from mapcc import api

    found = api.identify_parts(source, select=select)
    for line in (*_lines(found, source, select), *_state_lines(found.source)):
        say(line)
    raise SystemExit(0 if found.is_known else 1)


def _state_lines(checkpoint: Manifest) -> Iterator[str]:
    """What else the names tell: containers of quantised weights, and that it is a part of a set of files."""
    from mapcc.tensors.parts import part_of_set
    from mapcc.tensors.quantised.words import describe_containers

    if (part := part_of_set(checkpoint)) is not None:
        yield escape(part.message)
    for container in describe_containers(checkpoint):
        yield f"quantised: {escape(container)}"


def _lines(found: Identified, source: str, select: list[str] | None) -> Iterator[str]:
    if not found.models:
        yield "unknown: no model of the library has these names and shapes"
        if found.nearest is not None:
            yield f"nearest: {_shares(found.nearest)}"
        return
    if found.unpack:
        for fitted in found.models:
            best = fitted.part.best
            yield (_named(best) if best.is_this else _shares(best)) + ", its weights quantised"
        yield "the mappings of the library are for the weights themselves; to get them:"
        yield from (f"    {way}" for way in found.unpack)
        return
    if not found.is_known:
        yield "another size: no model of the library has these shapes"
    if found.unwrap:
        for fitted in found.models:
            yield f"{_named(fitted.part.best)}, beneath the wrappers of training"
        yield "these lines, as a mapping, take them off; then identify what it gives:"
        yield from (f"    {escape(line)}" for line in found.unwrap)
        return
    outs = _Outs()
    for fitted in found.models:
        yield from _model_lines(fitted, found, source, select, outs)
    yield from _shortened("of no model that is known", found.rest)


def _model_lines(
    fitted: Fitted, found: Identified, source: str, select: list[str] | None, outs: _Outs
) -> Iterator[str]:
    part, best = fitted.part, fitted.part.best
    if not best.is_this:
        taken = next((fit.match for fit in fitted.fits if fit.problem is None), best)
        yield f"nearest: {_shares(taken)}"
    for match in part.equals if best.is_this else ():
        yield _named(match) + ("" if match.is_exact else f": {match.same:.0%} of what is there")
    place = part.prefix or (f"{best.known.prefix}." if best.known.prefix else "")
    if place:
        some = len(best.names) + len(best.strange)
        of = (
            ""
            if some == len(found.source.tensors)
            else f", {some:,} of {len(found.source.tensors):,} tensors"
        )
        yield f"    under {escape(place)}{of}"
    for fit in fitted.fits:
        if fit.problem is None:
            yield f"    {_command(fit, found, source, select, outs)}"
    if not fitted.fits:
        givers = ", ".join(dict.fromkeys(name for match in part.equals for name in match.known.gives))
        yield f"    no mapping of the library takes it; it is what {givers} gives"
    yield from _notes(fitted)
    families = {match.known.family for match in part.equals}
    near = [m for m in part.matches if m.is_this and m not in part.equals and m.known.family in families]
    for match in near[:_NEAR]:
        yield f"near: {_named(match)}, but {_difference(match, best)}"


# --- commands


class _Outs:
    """Folders for outputs: each for one command, and none that is there already."""

    def __init__(self) -> None:
        self.given: set[str] = set()

    def next(self, mapping: str) -> str:
        out, number = f"{OUT}/{mapping}", 1
        while out in self.given or Path(out).exists():
            number += 1
            out = f"{OUT}/{mapping}_{number}"
        self.given.add(out)
        return out


def _command(fit: Fit, found: Identified, source: str, select: list[str] | None, outs: _Outs) -> str:
    """A keys file has no weights: there is nothing to convert."""
    is_there = bool(found.source.files)
    words = ["mapcc", "convert" if is_there else "check", fit.mapping, "--source", _word(source)]
    options = [*(("--select", path) for path in select or ()), ("--under", fit.under)]
    options += [("--drop", name) for name in fit.drops]
    options += [("--set", f"{name}={value}") for name, value in fit.settings.items()]
    for option, value in options:
        words += [option, _word(value)] if value else []
    if is_there:
        words += ["--out", outs.next(fit.mapping)]
    return " ".join(words)


def _word(text: str) -> str:
    """For the shell; what cannot be seen is written in its escapes."""
    text = f"./{text}" if text.startswith("-") else text
    if text.isprintable():
        return quote(text)
    escaped = "".join(char if char.isprintable() and char not in "\\'" else _escaped(char) for char in text)
    return f"$'{escaped}'"


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


# --- what is not as the model has it


def _notes(fitted: Fitted) -> Iterator[str]:
    best = fitted.part.best
    fits = [fit for fit in fitted.fits if fit.problem is None]
    dropped = {reason: names for fit in fits for reason, names in fit.dropped}
    by_mapping = {name for names in dropped.values() for name in names}
    for reason, names in dropped.items():
        yield from _shortened("dropped by the mapping", names, f" ({reason})")
    for fit in fits:
        if fit.is_guessed:
            said = ", ".join(f"{name}={value}" for name, value in fit.settings.items())
            yield f"  {fit.mapping}: no shape tells {said}: compare it with the model's config"
    if best.is_this:
        absent = [f"{name}{_tie(best, name)}" for name in best.missing]
        yield from _shortened("absent", absent)
        strange = [name for name in best.unexpected if best.prefix + name not in by_mapping]
        is_left_out = any(fit.drops for fit in fits)
        yield from _shortened("unexpected, and left out by --drop" if is_left_out else "unexpected", strange)
        yield from _shortened("of another shape", best.misshapen)
    for fit in fitted.fits:
        if fit.problem is not None and fit.match.is_this:
            where = f": {fit.problem.names[0]}" if fit.problem.names else ""
            why = f"{fit.problem.code}: {fit.problem.message}{where}"
            yield f"  {fit.mapping} does not take it: {escape(why)}"


def _tie(match: Match, name: str) -> str:
    """Where an absent matrix has the shape of one other tensor alone, it may be tied to that."""
    tensors = match.known.tensors
    if name not in tensors or len(match.absent) > _TIED or len(tensors[name].shape) < 2:
        return ""
    shape = tensors[name].shape
    same = [other for other, spec in tensors.items() if spec.shape == shape and other != name]
    there = len(same) == 1 and match.prefix + same[0] in match.names
    return f" (it has the shape of {same[0]}: perhaps they are tied)" if there else ""


def _shortened(word: str, names: Iterable[str], behind: str = "") -> Iterator[str]:
    listed = list(names)
    for name in listed[:SHOWN]:
        yield f"  {word}: {escape(name + behind)}"
    if len(listed) > SHOWN:
        yield f"  {word}: and {len(listed) - SHOWN} more"


def _shares(match: Match) -> str:
    return (
        f"{_named(match)}: {match.named:.0%} of the names but for numbers, {match.same:.0%} with their shapes"
    )


def _named(match: Match) -> str:
    return escape(f"{match.known.title}, {match.known.size}")


def _difference(match: Match, best: Match) -> str:
    there = [*(name.removeprefix(match.prefix) for name in best.names), *best.strange]
    unexpected = fold(sorted(name for name in there if name not in match.known.tensors))
    words = {"absent": match.missing, "unexpected": unexpected, "of another shape": match.misshapen}
    said = [
        f"{names[0]} is {word}" + (f", and {len(names) - 1} more" if len(names) > 1 else "")
        for word, names in words.items()
        if names
    ]
    return escape("; ".join(said))
