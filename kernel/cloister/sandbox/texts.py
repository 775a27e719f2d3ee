"""``column.str`` and ``column.cat``: texts code point by code point, letters in ASCII; categories and their domain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import refuse, terms

if TYPE_CHECKING:
    from cloister.sandbox.column import Column

LONGEST = 256
_PATTERN = re.compile(r"[.^$*+?{}\[\]\\|()]")


class Texts:
    """What can be said about the texts of a column."""

    def __init__(self, column: Column) -> None:
        self._column = column

    def _node(self, node: a.Scalar) -> Column:
        return self._column._with(terms.node(node, self._column._term))

    def lower(self) -> Column:
        """ASCII letters in lower case."""
        return self._node(a.Letters("lower", self._column._term.scalar))

    def upper(self) -> Column:
        """ASCII letters in upper case."""
        return self._node(a.Letters("upper", self._column._term.scalar))

    def strip(self, to_strip: str | None = None) -> Column:
        """Without ASCII white space at both ends."""
        if to_strip is not None:
            raise PlanError("api.str", "strip takes white space only", nearest=("visits.sex.str.strip()",))
        return self._node(a.Letters("strip", self._column._term.scalar))

    def len(self) -> Column:
        """The number of code points."""
        return self._node(a.Length(self._column._term.scalar))

    def startswith(self, pat: str | tuple[str, ...], na: Any = None) -> Column:
        """Whether the text starts with ``pat`` (or one of several)."""
        return self._matches("starts_with", pat, na)

    def endswith(self, pat: str | tuple[str, ...], na: Any = None) -> Column:
        """Whether the text ends with ``pat`` (or one of several)."""
        return self._matches("ends_with", pat, na)

    def contains(self, pat: str, case: bool = True, flags: int = 0, na: Any = None, regex: bool = True) -> Column:
        """Whether ``pat`` stands in the text; a plain text, no pattern."""
        _plain(pat, "contains", regex=regex or bool(flags))
        if not case:
            return self.lower().str.contains(pat.lower(), na=na, regex=False)
        return self._matches("contains", pat, na)

    def match(self, pat: str, case: bool = True, na: Any = None) -> Column:
        """Whether the text starts with ``pat``; a plain text, no pattern."""
        _plain(pat, "match")
        return (self if case else self.lower().str).startswith(pat if case else pat.lower(), na)

    def fullmatch(self, pat: str, case: bool = True, na: Any = None) -> Column:  # noqa: ARG002 (as pandas)
        """Whether the text is ``pat``; a plain text, no pattern."""
        _plain(pat, "fullmatch")
        return self._column == pat if case else self.lower() == pat.lower()

    def slice(self, start: int | None = None, stop: int | None = None, step: int | None = None) -> Column:
        """The code points ``start <= i < stop``."""
        first, last = 0 if start is None else int(start), LONGEST if stop is None else int(stop)
        if first < 0 or last < 0 or step not in (None, 1):
            raise PlanError(
                "api.str", "positions count from the front, in steps of 1", nearest=("visits.sex.str[0:1]",)
            )
        return self._node(a.Slice(self._column._term.scalar, first, max(first, last)))

    def get(self, i: int) -> Column:
        """The ``i``-th code point, or missing."""
        return self.slice(i, i + 1).where(self.len() > i)

    def __getitem__(self, key: Any) -> Column:
        return self.slice(key.start, key.stop, key.step) if isinstance(key, slice) else self.get(int(key))

    def replace(
        self, pat: str, repl: str, n: int = -1, case: bool | None = None, *, flags: int = 0, regex: bool = False
    ) -> Column:
        """Every ``pat`` replaced by ``repl``; plain texts."""
        if regex:
            _plain(pat, "replace")
        if n != -1 or case is False or flags or not isinstance(repl, str):
            raise PlanError("api.str", "every occurrence is replaced, as it is written", nearest=_FORMS["replace"])
        return self._node(a.Replace(self._column._term.scalar, str(pat), repl))

    def cat(self, others: Any = None, sep: str | None = None, na_rep: str | None = None) -> Column:
        """Texts one after the other, with ``sep`` between."""
        if others is None or na_rep is not None:
            raise PlanError("api.str", "cat joins texts of the same row", nearest=_FORMS["cat"])
        found = self._column
        for other in others if isinstance(others, list | tuple) else [others]:
            found = found + sep + other if sep else found + other
        return found

    def removeprefix(self, prefix: str) -> Column:
        """Without ``prefix``, where the text starts with it."""
        return self.slice(len(prefix)).where(self.startswith(prefix), self._column)

    def capitalize(self) -> Column:
        """The first ASCII letter in upper case, the others in lower case."""
        return self.slice(0, 1).str.upper() + self.slice(1).str.lower()

    def repeat(self, repeats: int) -> Column:
        """The text several times."""
        if not isinstance(repeats, int) or not 1 <= repeats <= LONGEST:
            raise PlanError("api.str", "repeat takes a whole number from 1", nearest=("visits.sex.str.repeat(2)",))
        term = self._column._term
        return self._column._with(terms.node(a.Concat((term.scalar,) * repeats), *[term] * repeats))

    def _matches(self, kind: Literal["starts_with", "ends_with", "contains"], pat: Any, na: Any) -> Column:
        texts = pat if isinstance(pat, tuple) else (pat,)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise PlanError("api.str", "texts are compared with a text", nearest=_FORMS["contains"])
        if na is True:
            return self._matches(kind, pat, None) | self._column.isna()
        found = self._node(a.Matches(kind, self._column._term.scalar, texts[0]))
        return found if len(texts) == 1 else found | self._matches(kind, texts[1:], na)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"texts have no {name!r}")
        words = refuse.part(self._column._words(), "str")
        if name not in refuse.STR:
            raise refuse.unknown_part(name, self, words)
        return refuse.look_up(refuse.STR, name, words)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]


class Categories:
    """``column.cat``: the public domain of a category."""

    def __init__(self, column: Column) -> None:
        self._column = column

    @property
    def categories(self) -> pd.Index:
        """The public domain, in its declared order."""
        return pd.Index(self._column.domain)

    ordered = False

    @property
    def codes(self) -> Column:
        """The place of the value in the domain, from 0; -1 where it is missing."""
        return self._column.map({label: place for place, label in enumerate(self._column.domain)}).fillna(-1)

    def as_unordered(self) -> Column:
        """The column itself: domains have no order."""
        return self._column

    def rename_categories(self, new_categories: Any) -> Column:
        """Other names for the values: a dict, a list for the whole domain, or a function."""
        domain = self._column.domain
        if isinstance(new_categories, Mapping):
            names = {label: new_categories.get(label, label) for label in domain}
        elif callable(new_categories):
            names = {label: new_categories(label) for label in domain}
        else:
            names = dict(zip(domain, new_categories, strict=True))
        return self._column.map(names)

    def remove_categories(self, removals: Any) -> Column:
        """The column, missing where it has one of these values."""
        gone = [removals] if isinstance(removals, str) else list(removals)
        return self._column.map({label: label for label in self._column.domain if label not in gone})

    def set_categories(self, new_categories: Sequence[str]) -> Column:
        """The column with this domain, missing where it has another value."""
        wanted = list(new_categories)
        return self._column.map({label: label for label in wanted if label in self._column.domain})

    def reorder_categories(self, new_categories: Sequence[str]) -> Column:
        """The column with its domain in another order."""
        if set(new_categories) != set(self._column.domain):
            raise ValueError("items in new_categories are not the same as in old categories")
        return self.set_categories(new_categories)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"a category has no {name!r}")
        words = refuse.part(self._column._words(), "cat")
        if name not in refuse.CAT:
            raise refuse.unknown_part(name, self, words)
        return refuse.look_up(refuse.CAT, name, words)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]


_FORMS: dict[str, tuple[str, ...]] = {
    "contains": ('visits.region.str.contains("th", regex=False)',),
    "match": ('visits.region.str.startswith("no")',),
    "fullmatch": ('visits.region == "north"',),
    "replace": ('visits.region.str.replace("th", "")',),
    "cat": ('visits.sex.str.cat(visits.region, sep="-")',),
}


def _plain(pat: Any, name: str, *, regex: bool = True) -> None:
    """Refuse a pattern: only a plain text can be looked for."""
    if not isinstance(pat, str) or (regex and _PATTERN.search(pat)):
        raise PlanError(
            "api.regex",
            f"{name} looks for a plain text: patterns could run without end and are not in the algebra",
            nearest=_FORMS[name],
        )
