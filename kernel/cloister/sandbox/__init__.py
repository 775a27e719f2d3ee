"""What notebook code imports inside the enclave. Untrusted, and without data.

    import cloister as cl
    visits = cl.table("st_anna.visits")
    visits[visits.age >= 18].groupby("sex").bmi.mean()

A handle is a name for rows that stay where they are. Row-wise code builds expressions, aggregates are asked of the
vault over one link, and what comes back is ordinary numbers and pandas with the facts of their release.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from cloister.errors import CloisterError
from cloister.sandbox.align import align
from cloister.sandbox.budget import Budget
from cloister.sandbox.catalogue import ContractView, Tables, open_table
from cloister.sandbox.crosstabs import crosstab
from cloister.sandbox.cuts import cut
from cloister.sandbox.frame import Frame
from cloister.sandbox.functions import case, parse, recode, where
from cloister.sandbox.gram import Gram, gram
from cloister.sandbox.match_report import match_report
from cloister.sandbox.matching import Match
from cloister.sandbox.numeric import ratio
from cloister.sandbox.ratios import ratio_of_sums, weighted_mean
from cloister.sandbox.rehearsal import Rehearsal
from cloister.sandbox.rehearsal import rehearsal as rehearse_price
from cloister.sandbox.release import Release
from cloister.sandbox.session import current
from cloister.sandbox.stacking import concat, split, train_test_split

__all__ = [
    "CloisterError",
    "Frame",
    "Gram",
    "Release",
    "align",
    "budget",
    "case",
    "concat",
    "contract",
    "crosstab",
    "cut",
    "gram",
    "match",
    "match_report",
    "parse",
    "ratio",
    "ratio_of_sums",
    "recode",
    "rehearsal",
    "split",
    "sql",
    "stats",
    "table",
    "tables",
    "train_test_split",
    "weighted_mean",
    "where",
]

_LAZY = {"sql": "cloister.sandbox.sql_query", "stats": "cloister.sandbox.stats"}


def __getattr__(name: str) -> Any:
    # Both bring a library that most notebooks never need.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    return module if name == "stats" else module.sql


match = Match()


def contract() -> ContractView:
    """Return the contract of this kernel, in plain words."""
    return ContractView(current())


def tables() -> Tables:
    """Return the catalogue: every table of the contract with its tiers and columns."""
    return Tables(current())


def budget() -> Budget:
    """Return every limit of the contract with what is spent of it."""
    return Budget(current())


def rehearsal() -> Rehearsal:
    """Return what this mock kernel's releases would cost on real data.

    Raises:
        RefusedError: A confidential kernel rehearses nothing.
    """
    return rehearse_price(current())


def table(name: str) -> Frame:
    """Return the handle of a table, such as ``cl.table("st_anna.visits")``.

    Raises:
        PlanError: The contract has no such table.
        CloisterError: This is not a Cloister kernel.
    """
    return open_table(current(), name)


def _teach_tab() -> None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        from cloister.sandbox.tab import teach  # noqa: PLC0415 (only in a notebook)

        teach(shell.Completer, table, concat, cut, split)


_teach_tab()
