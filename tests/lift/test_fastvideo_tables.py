"""Every table that FastVideo ships: imported, bound, emitted again, and run by FastVideo's own functions."""

from __future__ import annotations

import pytest

from mapcc.dialects.fastvideo_read import read_param_names
from mapcc.emit import emit_fastvideo
from mapcc.lift.lift import lift

from .conftest import manifest
from .preimages import sources_of

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


@pytest.mark.parametrize("model", TABLES)
def test_round(model, config_source, loader, native_keys) -> None:
    native = native_keys[model]
    table = read_param_names(config_source(TABLES[model]), "fastvideo") if TABLES[model] else None
    theirs = loader.get_param_names_mapping(dict(table.table) if table else {})
    sources, unreached = sources_of(dict(table.table) if table else {}, theirs, native)
    print(model, len(native), len(sources), len(unreached), unreached[:4])
    if table is None:
        return
    lifted = lift(table, manifest(sources))
    emitted = emit_fastvideo(lifted.bound)
    assert emitted.ok, emitted.diagnostics[:3]
    namespace: dict = {}
    exec(emitted.text, namespace)
    again = loader.get_param_names_mapping(namespace["param_names_mapping"])
    assert {name: again(name) for name in sources} == {name: theirs(name) for name in sources}
