"""Writes what the installed ``ml_dtypes`` makes of every cast, as digests: run it once for each version.

    python -m venv v; v/bin/pip install numpy ml_dtypes==0.5.4
    PYTHONPATH=. v/bin/python -m tests.numeric.record_ml_dtypes

The elements are those of ``elements.py``, so the digests of another version are of the same casts.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mapcc.numeric.route import FORMATS, unsigned
from tests.numeric.elements import FLOATS, digest, is_nan, numpy_dtype, one_nan, samples

FOLDER = Path(__file__).resolve().parents[1] / "data" / "casts"


def theirs() -> dict[str, str | None]:
    """By ``SOURCE>TARGET``; None where there is no such cast."""
    found: dict[str, str | None] = {}
    for source in FLOATS:
        for target in FLOATS:
            if source == target:
                continue
            x = samples(source)
            if FORMATS[target].kind == "finite":
                x = x[~is_nan(x, source)]  # what becomes of NaN there, each library decides for itself
            try:
                with np.errstate(all="ignore"):
                    made = x.view(numpy_dtype(source)).astype(numpy_dtype(target)).view(unsigned(target))
            except TypeError:
                found[f"{source}>{target}"] = None
                continue
            found[f"{source}>{target}"] = digest(one_nan(made, target))
    return found


if __name__ == "__main__":
    import ml_dtypes

    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"ml_dtypes-{ml_dtypes.__version__}.json"
    path.write_text(json.dumps(theirs(), indent=1) + "\n", "utf-8")
