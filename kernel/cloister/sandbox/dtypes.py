"""The pandas dtypes of columns: those their values have in a mock table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cloister.sandbox.terms import Term


def of(term: Term) -> Any:
    """Return the dtype a term's values have in pandas."""
    grid = term.grid
    match grid.kind:
        case "bool":
            return pd.BooleanDtype() if grid.nullable else np.dtype(bool)
        case "number":
            whole = grid.step.denominator == 1 and not grid.nullable
            return np.dtype("int64") if whole else np.dtype("float64")
        case "date":
            return np.dtype("datetime64[s]")
        case "category":
            return pd.CategoricalDtype(list(term.domain))
        case _:
            return pd.StringDtype(na_value=np.nan)
