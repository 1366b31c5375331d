"""Every table that FastVideo ships: imported, bound, emitted again, and run by FastVideo's own functions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mapcc.diagnostics.model import Diagnostics
from mapcc.dialects.fastvideo_read import read_param_names
from mapcc.emit import emit_fastvideo
from mapcc.errors import MappingError
from mapcc.lift.lift import lift
from mapcc.passes.check import bind

from .conftest import manifest
from .preimages import exemplars, sources_of

pytestmark = [pytest.mark.oracle, pytest.mark.network]

# The model's key set, and the config whose table its class has. Those without a table have "".
TABLES = {
    "wanvideo": "dits/wanvideo",
    "hunyuanvideo": "dits/hunyuanvideo",
    "hunyuanvideo15": "dits/hunyuanvideo15",
    "hunyuangamecraft": "dits/hunyuangamecraft",
    "cosmos": "dits/cosmos",
    "cosmos2_5": "dits/cosmos2_5",
    "gen3c": "dits/gen3c",
    "ltx2": "dits/ltx2",
    "flux_2": "dits/flux_2",
    "glm_image": "dits/glm_image",
    "kandinsky5": "dits/kandinsky5",
    "lingbotworld.model": "dits/lingbotworld",
    "hyworld.hyworld": "dits/hyworld",
    "matrixgame2.model": "dits/matrixgame2",
    "matrixgame3.model": "dits/matrixgame3",
    "minimax_h3": "dits/minimax_h3",
    "stable_audio": "dits/stable_audio",
    "zimage": "",
    "mmaudio": "dits/mmaudio",
    "magi_human": "",
    "dreamx_world": "dits/wanvideo",  # its config inherits the table
    "dreamx_world_ar": "dits/dreamx_world",
    "lingbot_video": "dits/lingbot_video",
    "causal_wanvideo": "dits/wanvideo",
}


def test_all_models(native_keys) -> None:
    assert native_keys.keys() == TABLES.keys()
    assert sum(map(len, native_keys.values())) == 23_862


@pytest.mark.parametrize("model", TABLES)
def test_round(model, config_source, loader, native_keys) -> None:
    native = native_keys[model]
    table = read_param_names(config_source(TABLES[model]), "fastvideo") if TABLES[model] else None
    theirs = loader.get_param_names_mapping(dict(table.table) if table else {})
    sources, unreached = sources_of(dict(table.table) if table else {}, theirs, native)
    assert not unreached
    if table is None:
        assert sources == native
        return
    lifted = lift(table, manifest(sources))
    # Bound to the model's own key set: every parameter is given, and nothing else.
    found = Diagnostics()
    held = bind(lifted.mapping, Path("t.mapcc"), manifest(sources), manifest(native), {}, found)
    assert not found.errors, list(found)[:3]
    assert held.given.keys() == native.keys()
    emitted = emit_fastvideo(lifted.bound)
    assert emitted.ok, emitted.diagnostics[:3]
    namespace: dict = {}
    exec(emitted.text, namespace)
    again = loader.get_param_names_mapping(namespace["param_names_mapping"])
    assert {name: again(name) for name in sources} == {name: theirs(name) for name in sources}


def test_every_rule_of_every_table(fastvideo, config_source, loader) -> None:
    """All 389 rules of the 22 tables, those of models without a key set too, on names made for them."""
    with zipfile.ZipFile(fastvideo) as archive:
        configs = [n for n in archive.namelist() if n.startswith("fastvideo/configs/models/")]
    tables = rules = names = 0
    for config in configs:
        if not config.endswith(".py"):
            continue
        module = config.removeprefix("fastvideo/configs/models/").removesuffix(".py")
        try:
            table = read_param_names(config_source(module), "fastvideo")
        except MappingError:  # of no table, or of an empty one: dict()
            continue
        if not table.entries:
            continue
        tables, rules = tables + 1, rules + len(table.entries)
        theirs = loader.get_param_names_mapping(dict(table.table))
        made = dict.fromkeys(name for pattern in table.table for name in exemplars(pattern))
        source = manifest(dict.fromkeys(made, (4, 4)))
        lifted = lift(table, source)
        fired = {number for name in made for number in table.trace(name).possible}
        assert fired == set(range(len(table.entries))), module
        assert {n: table.trace(n).target for n in made} == {n: theirs(n)[0] for n in made}
        emitted = emit_fastvideo(lifted.bound)
        if (
            lifted.bound.dropped
        ):  # incomplete groups, among made-up names: they are lost, as the loader loses them
            assert {fault.code for fault in emitted.diagnostics} == {"MC601"}
            continue
        assert emitted.ok, (module, emitted.diagnostics[:2])
        namespace: dict = {}
        exec(emitted.text, namespace)
        again = loader.get_param_names_mapping(namespace["param_names_mapping"])
        assert {name: again(name) for name in made} == {name: theirs(name) for name in made}, module
        names += len(made)
    assert (tables, rules) == (22, 389)
    assert names > 1000
