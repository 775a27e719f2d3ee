"""What a lint says, and the small readers of exact text values that cards and contracts share."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Literal

import msgspec

from cloister.errors import ContractError
from cloister.wire.text import fields_with_control

_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{1,40}|/\d{1,40})?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WILDCARD = re.compile(r"[*?%]|^\s*(any|all|everyone|everything)\s*$|^\s*$", re.IGNORECASE)


class Finding(msgspec.Struct, frozen=True):
    """One remark of a lint: how bad, where, what, and what to do. Errors keep a document from being used."""

    level: Literal["error", "warning"]
    code: str
    clause: str
    text: str
    advice: str


def error(code: str, clause: str, text: str, advice: str) -> Finding:
    """Return a finding that keeps the document from being used."""
    return Finding("error", code, clause, text, advice)


def warning(code: str, clause: str, text: str, advice: str) -> Finding:
    """Return a finding that a person should read before signing."""
    return Finding("warning", code, clause, text, advice)


def exact(text: str | None) -> Fraction | None:
    """Return the exact rational written as ``"18"``, ``"-0.5"`` or ``"1/3"``, or None if it is not one."""
    if text is None or not _NUMBER.fullmatch(text):
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def iso_date(text: str | None) -> datetime.date | None:
    """Return the calendar date written as ``"2024-01-31"``, or None if it is not one."""
    if text is None or not _DATE.fullmatch(text):
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def unreadable(document: msgspec.Struct, code: str) -> Iterator[Finding]:
    """Yield a finding for every field with a text that would act on a screen instead of being read."""
    for field in fields_with_control(document):
        yield error(
            code, field, "a text holds control characters", "write it on one line, without escape or direction marks"
        )


def twice(values: Iterable[object]) -> list[object]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def is_digest(text: str) -> bool:
    """Whether ``text`` is ``sha256:<64 hex digits>``."""
    return _DIGEST.fullmatch(text) is not None


def is_wildcard(text: str) -> bool:
    """Whether ``text`` is empty, holds a wildcard sign or is a word for everything."""
    return _WILDCARD.search(text) is not None


def parse_time(text: str) -> datetime.datetime:
    """Return the moment written as RFC 3339 in UTC (``2024-01-31T00:00:00Z``).

    Raises:
        ContractError: ``contract.time``.
    """
    try:
        if _TIME.fullmatch(text):
            return datetime.datetime.fromisoformat(text)
    except ValueError:
        pass
    raise ContractError("contract.time", f"{text!r} is not a time", next_step="write 2024-01-31T00:00:00Z")
