"""The accessors of a column: ``.dt`` of dates, ``.str`` of texts, ``.cat`` of categories."""

from __future__ import annotations

from typing import Any

from cloister.sandbox.dates import Dates, Days
from cloister.sandbox.texts import Categories, Texts


class Accessors:
    """``.dt``, ``.str`` and ``.cat`` where they mean something, an AttributeError as in pandas where not."""

    @property
    def dt(self: Any) -> Any:
        """Parts of dates; of a difference of dates, ``dt.days``."""
        if self._term.days:
            return Days(self)
        if self._term.grid.kind != "date":
            raise AttributeError("can only use .dt of dates and of their differences")
        return Dates(self)

    @property
    def str(self: Any) -> Texts:
        """What can be said about texts."""
        if self._term.grid.kind not in {"category", "text"}:
            raise AttributeError("can only use .str of texts and categories")
        return Texts(self)

    @property
    def cat(self: Any) -> Categories:
        """The public domain of a category."""
        if self._term.grid.kind != "category":
            raise AttributeError("can only use .cat of a category")
        return Categories(self)
