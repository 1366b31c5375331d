"""The registry of codes. A code is never reused; its page is ``docs/codes/CODE.md``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of finding: its code, a short title, and how a command ends when it occurs.

    ``allowable``: an error that ``allow`` switches off as it does a warning, because it may be meant.
    """

    code: str
    title: str
    warning: bool = False
    exit_code: int = 1
    allowable: bool = False


_REGISTRY = (
    # The outside world.
    Code("MC001", "file cannot be read", exit_code=2),
    Code("MC002", "malformed file of weights"),
    Code("MC003", "malformed index, keys file or config"),
    Code("MC004", "Python factory failed", exit_code=2),
    Code("MC005", "output cannot be written", exit_code=2),
    Code("MC006", "not a checkpoint that mapcc reads"),
    Code("MC007", "unknown code, format or option value", exit_code=2),
    Code("MC008", "nothing lies under this prefix"),
    Code("MC009", "names with the wrappers of training"),
    # The text.
    Code("MC101", "syntax error"),
    Code("MC102", "wrong YAML structure"),
    Code("MC103", "mapping too large or too deep"),
    Code("MC104", "unknown name in an expression"),
    Code("MC105", "cyclic use"),
    Code("MC106", "bad regular expression"),
    Code("MC107", "statement given twice"),
    Code("MC108", "expression cannot be evaluated"),
    Code("MC109", "used file lies outside"),
    # Names.
    Code("MC201", "groups do not pair up"),
    Code("MC202", "stars do not pair up"),
    Code("MC203", "same labels in another order"),
    Code("MC204", "unbound index"),
    Code("MC205", "index expression is not one to one"),
    Code("MC206", "one tensor given by two copies"),
    Code("MC207", "name axes do not pair up"),
    Code("MC208", "pattern can match in two ways"),
    Code("MC209", "not a name that a tensor can have"),
    # Axes.
    Code("MC301", "axis only on the left"),
    Code("MC302", "axis only on the right has no size"),
    Code("MC303", "axis stands twice"),
    Code("MC304", "pieces cannot be told apart"),
    Code("MC305", "pieces do not correspond"),
    Code("MC306", "sizes do not agree"),
    Code("MC307", "sizes still free"),
    Code("MC308", "wrong number of dimensions"),
    Code("MC309", "shape needed"),
    # Binding.
    Code("MC401", "missing: target tensor with no source"),
    Code("MC402", "unexpected: source tensor that no rule takes"),
    Code("MC403", "ambiguous: source tensor taken by two rules"),
    Code("MC404", "collision: target tensor given twice"),
    Code("MC405", "dead rule"),
    Code("MC406", "incomplete group"),
    Code("MC407", "unexpected: target tensor that the target does not have"),
    Code("MC408", "shape differs from the target's"),
    Code("MC409", "dtype differs from the target's"),
    Code("MC410", "statement matches nothing", warning=True),
    Code("MC411", "rule is not a bijection"),
    Code("MC412", "pattern too slow"),
    Code("MC413", "dropped as a copy of what cannot be one"),
    Code("MC414", "copies that differ"),
    Code("MC416", "quantised weight parted from its companion", allowable=True),
    Code("MC417", "source is none of the mapping's models", warning=True),
    Code("MC418", "part of a set of files"),
    Code("MC419", "rank or part of a model"),
    # Values.
    Code("MC501", "unknown operation or argument"),
    Code("MC502", "operation does not fit its tensors"),
    Code("MC503", "output differs from what the mapping says"),
    Code("MC504", "output differs from what was written"),
    Code("MC505", "number with a fraction cast to integers"),
    Code("MC506", "clamp without a range"),
    Code("MC507", "dtype of all weights that is no floating-point type"),
    # Emitting and inverting.
    Code("MC601", "rule cannot be said in this dialect"),
    Code("MC602", "emitted config does not mean the same", exit_code=2),
    Code("MC603", "the parts are not the whole"),
    Code("MC701", "inverse cannot be written"),
    Code("MC702", "inverse loses something", warning=True),
    # Lint: of tables of other frameworks, and of mappings.
    Code("MC801", "dead entry", warning=True),
    Code("MC802", "shadowed entry", warning=True),
    Code("MC803", "order of entries matters", warning=True),
    Code("MC804", "unanchored pattern", warning=True),
    Code("MC805", "entry not idempotent", warning=True),
    Code("MC806", "merge group with a missing member", warning=True),
    Code("MC807", "two sources for one target", warning=True),
    Code("MC808", "tensor passes through", warning=True),
    Code("MC809", "operation that mapcc does not know"),
    Code("MC810", "chained entries", warning=True),
    Code("MC811", "rule not idempotent", warning=True),
    Code("MC812", "shapes cannot tell these apart", warning=True),
    Code("MC813", "allow that suppresses nothing", warning=True),
    Code("MC814", "assumed without a key set", warning=True),
    Code("MC816", "asked for a name that the source does not have", warning=True),
    Code("MC817", "metadata that is not carried over", warning=True),
    Code("MC818", "names are crossed", warning=True),
    Code("MC820", "quantised in an unknown container", warning=True),
    Code("MC821", "copies on ranks that are not compared", warning=True),
    # Adapters.
    Code("MC901", "adapter does not fit the model"),
    Code("MC902", "adapter cannot follow a rule"),
    Code("MC903", "adapter too large"),
    Code("MC904", "an adapter's scale cannot be told"),
    Code("MC905", "reader cannot hold an adapter"),
    Code("MC906", "nothing to skip"),
    # Ports.
    Code("MC911", "tensors that no component takes"),
    Code("MC912", "the target's loader would refuse this"),
    Code("MC913", "weights do not load into the module"),
    Code("MC914", "inputs must be declared"),
    Code("MC915", "weights cannot be fetched", exit_code=2),
    Code("MC916", "ported module differs from the official one"),
    Code("MC917", "a step before this one is missing"),
)

CODES: dict[str, Code] = {entry.code: entry for entry in _REGISTRY}
