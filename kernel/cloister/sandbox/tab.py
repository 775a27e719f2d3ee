"""What the Tab key knows about handles: their columns behind every step of a chain, and names inside quotes.

IPython looks at the object before the cursor, and evaluates only what it knows to be harmless. Here it learns that the
row-wise methods of a handle are: they build expressions and ask nobody, so ``visits.groupby("sex").`` can be looked at.
Nothing that spends budget is called by a completion.

Looking at objects replaces reading source (jedi), which takes seconds for the first pandas object of a kernel because
the sandbox keeps no cache between kernels; ``%config IPCompleter.use_jedi = True`` brings it back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from cloister.errors import CloisterError
from cloister.sandbox import session
from cloister.sandbox.column import Column
from cloister.sandbox.dates import Dates, IsoCalendar
from cloister.sandbox.frame import Frame
from cloister.sandbox.group import GroupBy
from cloister.sandbox.release import ReleasedFloat, ReleasedInt
from cloister.sandbox.texts import Categories, Texts
from cloister.sandbox.unit import UnitGroupBy

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext, IPCompleter, SimpleCompletion, SimpleMatcherResult

_FREE = {
    Frame: (
        "abs", "add_prefix", "add_suffix", "assign", "astype", "cap", "clip", "copy", "drop", "drop_duplicates",
        "dropna", "eval", "fillna", "filter", "groupby", "isna", "join", "merge", "notna", "per_unit", "query",
        "rename", "replace", "resample", "reset_index", "round", "select_dtypes", "set_index", "sort_values", "where",
        "within",
    ),
    Column: (
        "abs", "astype", "case_when", "clip", "combine_first", "dropna", "fillna", "groupby", "isna", "map", "mask",
        "notna", "replace", "round", "to_frame", "where",
    ),
    UnitGroupBy: (
        "agg", "all", "any", "count", "cumcount", "cumsum", "diff", "head", "max", "mean", "min", "nunique", "rank",
        "shift", "size", "sum", "tail", "transform",
    ),
    Dates: ("day_name", "floor", "isocalendar", "month_name", "normalize", "to_period"),
    Texts: (
        "capitalize", "cat", "contains", "endswith", "len", "lower", "removeprefix", "replace", "slice", "startswith",
        "strip", "upper",
    ),
    Categories: ("remove_categories", "rename_categories", "set_categories"),
}  # fmt: skip
_QUICK = ("copy", "groupby", "head", "reset_index", "round", "set_index", "sort_index", "sort_values", "tail")
_METHODS = "groupby|query|drop|dropna|filter|value_counts|sort_values|within|merge|per_unit|drop_duplicates"
_CLOSED = r"""(?:[^"'()]|"[^"]*"|'[^']*')*"""
_TABLE = re.compile(r"\btable\(\s*[\"']([\w.]*)$")
_COLUMN = re.compile(rf"(\w+)\.(?:{_METHODS})\({_CLOSED}[\"'](?:[^\"']*[^\w\"'])?(\w*)$")


def teach(completer: IPCompleter, *free: Callable[..., Any]) -> None:
    """Let ``completer`` (IPython's) look through chains on handles and complete names inside quotes.

    Args:
        completer: Of the running shell.
        free: Further functions a completion may call: they must cost nothing.
    """
    from IPython.core.completer import SimpleCompletion  # noqa: PLC0415 (only in a notebook)
    from IPython.core.guarded_eval import EVALUATION_POLICIES, SelectivePolicy  # noqa: PLC0415 (only in a notebook)

    policy = EVALUATION_POLICIES["limited"]
    if not isinstance(policy, SelectivePolicy):
        return
    rows = {getattr(kind, name) for kind, names in _FREE.items() for name in names}
    quick = {getattr(kind, name) for kind in (pd.DataFrame, pd.Series) for name in _QUICK if hasattr(kind, name)}
    completer.policy_overrides = {
        "allowed_getattr": policy.allowed_getattr | {*_FREE, GroupBy, ReleasedFloat, ReleasedInt, IsoCalendar},
        "allowed_getitem": policy.allowed_getitem | {Frame, GroupBy, UnitGroupBy, Texts},
        "allowed_operations": policy.allowed_operations | {Column},
        "allowed_calls": policy.allowed_calls | rows | quick | set(free),
        **completer.policy_overrides,
    }

    def attributes(context: CompletionContext) -> SimpleMatcherResult:
        found: SimpleMatcherResult = completer.python_matcher(context)
        fragment = found.get("matched_fragment") or ""
        if not fragment.startswith("."):
            return found
        # a list that shows ".age" for "age" is hard to read
        shown = [SimpleCompletion(text=one.text.removeprefix("."), type=one.type) for one in found["completions"]]
        return {"completions": shown, "matched_fragment": fragment[1:], "suppress": found.get("suppress", False)}

    def quoted(context: CompletionContext) -> SimpleMatcherResult:
        typed, names = names_in_quotes(context.text_until_cursor, completer.namespace)
        matches: list[SimpleCompletion] = [SimpleCompletion(text=name) for name in names]
        return {"completions": matches, "matched_fragment": typed, "suppress": bool(matches)}

    for matcher in (attributes, quoted):
        matcher.matcher_api_version = 2  # type: ignore[attr-defined]
    completer.use_jedi = False
    completer.disable_matchers = [*completer.disable_matchers, "IPCompleter.python_matcher"]
    completer.custom_matchers = [*completer.custom_matchers, attributes, quoted]


def names_in_quotes(text: str, namespace: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what is typed of a name inside an open quote, and the names that begin so.

    Args:
        text: The line up to the cursor, such as ``visits.groupby("re``.
        namespace: The notebook's variables.
    """
    if found := _TABLE.search(text):
        typed, names = found[1], _tables()
    elif found := _COLUMN.search(text):
        typed, names = found[2], _columns(namespace.get(found[1]))
    else:
        return "", []
    return typed, [name for name in names if name.startswith(typed)]


def _tables() -> list[str]:
    try:
        return sorted(session.current().about.cards)
    except CloisterError:
        return []


def _columns(handle: object) -> list[str]:
    return [str(name) for name in handle.columns] if isinstance(handle, Frame | pd.DataFrame) else []
