"""The ``py:`` source: a model built by a Python function, on the meta device, and asked for its keys.

This runs the user's own code, which he names on the command line; nothing that a
checkpoint or a mapping says leads here.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError
from mapcc.tensors.disk import unreadable
from mapcc.tensors.dtypes import Dtype, parse_dtype
from mapcc.tensors.spec import TensorSpec, name_fault

PREFIX = "py:"
# What stands between this module and the user's in a traceback.
_LOADING = re.compile(r"importlib|contextlib\.py$")
_FORM = "write py:module:function or py:path/to/file.py:function"


def read_factory(where: str) -> dict[str, TensorSpec]:
    """The key set of what a function or class without arguments gives: a module, or a dict of tensors.

    Floating types are left out, because a factory's default float type is no claim; tied
    parameters keep both names.

    Args:
        where: ``py:module:function`` (the working directory is on the path) or
            ``py:path/to/file.py:function`` (its folder is).

    Raises:
        MappingError: MC004 if torch is not installed, if there is no such function, if it
            raises, or if it returns something else; MC001 if there is no such file.
    """
    place, name = _parted(where)
    torch = _torch(where)
    with _named(where, place, name) as found, torch.device("meta"):
        built: Any = _made(found)
        state = built.state_dict() if hasattr(built, "state_dict") else built
    if not isinstance(state, Mapping):
        kind = type(built).__name__
        raise _failed(where, f"it is {kind}, not a torch.nn.Module or a dict of tensors")
    return {str(name): spec for name, value in state.items() if (spec := _spec(where, name, value, torch))}


def python_value(where: str) -> object:
    """What ``py:module:name`` or ``py:path/to/file.py:name`` names; a function or a class is called.

    Raises:
        MappingError: MC004 if there is no such name, or its code raises; MC001 if there is no such file.
    """
    with _named(where, *_parted(where)) as found:
        return _made(found)


def _made(found: object) -> object:
    """What a function or a class gives; a module as it is, though it is callable."""
    is_module = not isinstance(found, type) and hasattr(found, "state_dict")
    return found() if callable(found) and not is_module else found


def _parted(where: str) -> tuple[str, str]:
    place, colon, name = where.removeprefix(PREFIX).rpartition(":")
    if not (place and colon and name):
        raise _failed(where, "not a module and a function", help=_FORM)
    return place, name


@contextmanager
def _named(where: str, place: str, name: str) -> Iterator[object]:
    """What a module has under a name; what goes wrong while it is used is a diagnostic."""
    printed = StringIO()  # standard output belongs to the command that asked
    try:
        with redirect_stdout(printed), _importing(place) as module:
            found: object = module
            for attribute in name.split("."):
                found = _attribute(where, found, attribute)
            yield found
    except MappingError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(where, _last_line(error), *_notes(error, printed.getvalue())) from error


def _attribute(where: str, owner: object, name: str) -> object:
    if hasattr(owner, name):
        return getattr(owner, name)
    found = nearest(name, dir(owner), 1)
    help = f"did you mean `{found[0]}`?" if found else _FORM
    whose = getattr(owner, "__name__", owner)
    if isinstance(owner, ModuleType) and owner.__file__:
        whose = Path(owner.__file__).name  # a file's module has a made-up name
    raise _failed(where, f"`{whose}` has no `{name}`", help=help)


def _torch(where: str) -> Any:  # a module without types here, since torch may be absent
    try:
        return import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise _failed(where, "torch is not installed", help="pip install 'mapcc[torch]'") from None


@contextmanager
def _importing(place: str) -> Iterator[ModuleType]:
    """The module, imported, while its folder leads the path: what it imports later is found too."""
    path = Path(place)
    from_file = place.endswith(".py")
    if from_file and not path.is_file():
        raise MappingError([unreadable(path, FileNotFoundError(2, "no such file"))])
    before = list(sys.path)
    sys.path.insert(0, str(path.resolve().parent if from_file else Path.cwd()))
    try:
        yield _load(path) if from_file else import_module(place)
    finally:
        sys.path[:] = before


def _load(path: Path) -> ModuleType:
    name = f"_mapcc_factory_{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None  # the name ends with .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling in it look it up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _spec(where: str, name: object, value: object, torch: Any) -> TensorSpec | None:
    if not isinstance(value, torch.Tensor):
        if str(name).endswith("_extra_state"):  # of no fixed type, in no safetensors file
            return None
        raise _failed(where, f"`{name}` is {type(value).__name__}, not a tensor")
    fault = name_fault(str(name))
    if fault is not None:
        raise _failed(where, f"`{name}` cannot be a tensor's name: {fault}")
    return TensorSpec(str(name), _claimed(where, str(name), value), tuple(map(int, value.shape)))


def _claimed(where: str, name: str, tensor: Any) -> Dtype | None:
    if tensor.dtype.is_floating_point:
        return None
    dtype = parse_dtype(str(tensor.dtype))
    if dtype is None:
        raise _failed(where, f"`{name}` is {tensor.dtype}, which safetensors does not have")
    return dtype


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip() or type(error).__name__


def _notes(error: BaseException, printed: str) -> Iterator[str]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    frames = [frame for frame in frames if not _LOADING.search(frame.filename)]
    if isinstance(error, SyntaxError):
        yield f"at {error.filename}:{error.lineno}: {(error.text or '').strip()}"
    elif frames:
        yield f"raised at {_place(frames[-1])}"
        own = [frame for frame in frames if frame.filename == frames[0].filename]
        if own[-1] is not frames[-1]:
            yield f"from {_place(own[-1])}"
    if printed.strip():
        yield f"the last that it printed: {printed.strip().splitlines()[-1]}"


def _place(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}:{frame.lineno}, in {frame.name}" + (f": {frame.line}" if frame.line else "")


def _failed(where: str, why: str, *notes: str, help: str = "") -> MappingError:
    return MappingError([Diagnostic("MC004", f"factory `{where}`: {why}", notes=notes, help=help)])
