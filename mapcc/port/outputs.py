"""What whole pipelines give: their parity, the SSIM of what they draw, and the example that shows it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.components import place
from mapcc.port.evidence import Evidence
from mapcc.port.hashes import code_name
from mapcc.port.measure import distance, tensors_in
from mapcc.port.model import Outputs, Port
from mapcc.port.modules import factory_file
from mapcc.port.parity import Output
from mapcc.port.pictures import Comparison, arrays_of, compare_outputs
from mapcc.port.state import State, converted_keys
from mapcc.tensors.factory import python_value


def run_pipeline(port: Port) -> tuple[Output, ...]:
    """Both pipelines' outputs, given by files or by factories, element by element; recorded.

    Raises:
        MappingError: MC917: port.yaml names none, or a component is not converted; MC004, MC006.
    """
    outputs = _wanted(port, port.pipeline, "pipeline", "{official: out/a.npy, ported: out/b.npy}")
    _check_converted(port)
    sides = [_tensors(port, where) for where in (outputs.official, outputs.ported)]
    found = tuple(_compared(sides[0], sides[1], outputs))
    passed = bool(found) and all(each.ok for each in found)
    figures = {
        "outputs": [
            {"output": each.label} | (each.distance.as_json() if each.distance else {"problem": each.problem})
            for each in found
        ]
    }
    _record(port, "pipeline", passed, figures, outputs)
    return found


def _compared(a: Sequence[tuple[str, Any]], b: Sequence[tuple[str, Any]], outputs: Outputs) -> list[Output]:
    out = []
    for at in range(max(len(a), len(b))):
        if at >= len(a) or at >= len(b):
            label, tensor = (a if at < len(a) else b)[at]
            out.append(Output(label, tuple(tensor.shape), None, "only one of the two gives it"))
            continue
        (label, one), (_, two) = a[at], b[at]
        if one.shape != two.shape:
            out.append(Output(label, tuple(one.shape), None, f"the ported one's shape is {tuple(two.shape)}"))
        else:
            out.append(Output(label, tuple(one.shape), distance(one, two, outputs.atol, outputs.rtol)))
    return out


def _tensors(port: Port, where: str) -> list[tuple[str, Any]]:
    import numpy as np
    import torch

    if where.startswith("py:"):
        torch.manual_seed(0)
        value = python_value(place(port, where))
        found = tensors_in(torch.from_numpy(value) if isinstance(value, np.ndarray) else value)
        if not found:
            message = f"`{where}` gives {type(value).__name__}, in which there is no tensor"
            raise MappingError([Diagnostic("MC004", message)])
        return found
    return sorted(arrays_of(port.folder / where).items())


def run_ssim(port: Port, sheet: Path | None = None) -> Comparison:
    """The images or videos that port.yaml names under ``ssim``; recorded."""
    outputs = _wanted(port, port.ssim, "ssim", "{official: out/a.png, ported: out/b.png}")
    _check_converted(port)
    paths = [port.folder / where for where in (outputs.official, outputs.ported)]
    found = compare_outputs(*paths, atol=outputs.atol, rtol=outputs.rtol, sheet=sheet)
    _record(
        port, "ssim", found.passed(outputs.minimum), found.as_json() | {"minimum": outputs.minimum}, outputs
    )
    return found


def run_example(port: Port) -> Path:
    """The example's command, in the workspace; what it says goes where ours goes. Recorded.

    Raises:
        MappingError: MC917: port.yaml has no example, it fails, or it does not write its output anew.
    """
    if port.example is None:
        raise _missing("example", '{run: "python example.py", produces: out/example.png}')
    path = port.folder / port.example.produces
    before = path.stat().st_mtime_ns if path.exists() else None
    done = subprocess.run(port.example.run, shell=True, cwd=port.folder, check=False)
    is_new = path.exists() and path.stat().st_size > 0 and path.stat().st_mtime_ns != before
    passed = done.returncode == 0 and is_new
    state = State(port)
    keys = ("section example", f"file {port.example.produces}", *converted_keys(port))
    state.record(Evidence("example", "", passed, {"exit": done.returncode}, state.all_of(*keys)))
    if not passed:
        why = (
            f"it ended with {done.returncode}"
            if done.returncode
            else f"it did not write `{port.example.produces}`"
        )
        raise MappingError([Diagnostic("MC917", f"the example does not work: {why}")])
    return path


def _wanted(port: Port, outputs: Outputs | None, name: str, example: str) -> Outputs:
    if outputs is None:
        raise _missing(name, example)
    return outputs


def _missing(name: str, example: str) -> MappingError:
    return MappingError([Diagnostic("MC917", f"port.yaml has no `{name}`", help=f"{name}: {example}")])


def _check_converted(port: Port) -> None:
    state = State(port)
    stale = [component.name for component in port.components if not state.holds("convert", component.name)]
    if stale:
        message = f"not converted as it stands: {', '.join(stale)}"
        raise MappingError([Diagnostic("MC917", message, help="mapcc port convert")])


def _record(port: Port, item: str, passed: bool, figures: dict[str, Any], outputs: Outputs) -> None:
    state = State(port)
    keys = [f"section {item}", *converted_keys(port)]
    for where in (outputs.official, outputs.ported):
        if not where.startswith("py:"):
            keys.append(f"file {where}")
        elif (file := factory_file(port, where)) is not None:
            keys.append(f"code {code_name(file, port.folder.resolve())}")
    state.record(Evidence(item, "", passed, figures, state.all_of(*keys)))
