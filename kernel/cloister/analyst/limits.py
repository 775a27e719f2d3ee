"""The limits of a contract as a person reads them: how full, and in which words.

The enclave reports privacy in rho, as exact fractions. People think in epsilon: with the contract at hand, which every
party signed, the equivalents at its delta are shown; without it, parts of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from cloister.contract.findings import parse_time
from cloister.contract.terms import Budget, Contract
from cloister.errors import CloisterError
from cloister.plan.precision import epsilon_of_rho

_COUNTED = {
    "releases": "releases",
    "rows": "rows scanned, by declared size",
    "models": "models",
}
_SUM = re.compile(r"[0-9]{1,400}(/[1-9][0-9]{0,399})?")
_UNITS_PER_SECOND = 10  # compute is counted in units of 100 ms
_UNKNOWN = "not known now"
_ALERTS = 50


class Limit(NamedTuple):
    """One limit: its name, whose or what it is about, how full (0..1, ``None`` if not known), and the words."""

    name: str
    about: str
    used: float | None
    words: str

    @property
    def label(self) -> str:
        """Name and subject in one short text."""
        return f"{self.name} of {self.about}" if self.about else self.name


def limits(budget: Mapping[str, Any], contract: Contract | None = None) -> list[Limit]:
    """Return every limit in a budget as reported (op ``budget``), in its order; unreadable ones say so.

    What is left of the contract's time is counted from the moment the figures are of, not from when they are shown: a
    record says the same whenever it is made again.
    """
    listed, moment = budget.get("limits"), _moment(budget.get("time"))
    found = []
    for limit in listed if isinstance(listed, list) else ():
        name = str(limit.get("name", "limit")) if isinstance(limit, dict) else "limit"
        try:
            found.append(_limit(name, limit, contract, moment))
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, CloisterError):
            found.append(Limit(name, "", None, _UNKNOWN))
    return found


def alerts(budget: Mapping[str, Any]) -> list[str]:
    """Return a line for every alert about this analyst in a budget as reported; unreadable ones are left out."""
    told = budget.get("alerts")
    return [
        f"alert at {one['broker']}: {one['text']}; {one['what']} {one['count']} > {one['most']}, {one['bucket']} UTC"
        for one in (told if isinstance(told, list) else ())
        if isinstance(one, dict) and {"broker", "text", "what", "bucket", "count", "most"} <= one.keys()
    ][:_ALERTS]


def left(found: list[Limit]) -> float | None:
    """Return the smallest part left of any privacy limit, or ``None`` when one of them is not known."""
    used = [limit.used for limit in found if limit.name == "privacy"]
    known = [value for value in used if value is not None]
    return max(0.0, 1 - max(known)) if known and len(known) == len(used) else None


def percent(part: float) -> str:
    """Return a part (0..1) as a short percentage."""
    digits = 0 if part in (0, 1) else 1 if part >= 0.001 else 2
    return f"{100 * part:.{digits}f} %"


def _moment(time: object) -> datetime:
    try:
        return parse_time(str(time))
    except (ValueError, CloisterError):
        return datetime.now(UTC)


def _limit(name: str, limit: Mapping[str, Any], contract: Contract | None, moment: datetime) -> Limit:
    if name == "privacy":
        return _privacy(limit, contract)
    if name == "delta":
        return _delta(limit)
    if name == "expiry":
        return _expiry(str(limit["not_after"]), contract, moment)
    spent, whole = _exact(limit["spent"]), _exact(limit["limit"])
    used = float(spent / whole) if whole else 1.0
    if not whole:
        return Limit(name, "", used, "none allowed by the contract")
    if name == "compute":
        return Limit(name, "", used, f"{_seconds(spent)} of {_seconds(whole)} of computing (planned)")
    return Limit(name, "", used, f"{_count(spent)} of {_count(whole)} {_COUNTED.get(name, '')}".rstrip())


def _exact(value: object) -> Fraction:
    """Return a sum as reported. ``Fraction`` itself would also read "1e999999999", and take all memory for it."""
    if (isinstance(value, int) and value >= 0) or (isinstance(value, str) and _SUM.fullmatch(value)):
        return Fraction(value)
    raise ValueError("not a sum")


def _privacy(limit: Mapping[str, Any], contract: Contract | None) -> Limit:
    population = str(limit["population"])
    if error := limit.get("error"):
        return Limit("privacy", population, None, f"{_UNKNOWN}: [{error['code']}] {error['reason']}")
    everyone, whole = _exact(limit["spent"]), _exact(limit["limit"])
    mine, granted = (_exact(limit.get(f"analyst_{key}", limit[key])) for key in ("spent", "limit"))
    parts = [_part(mine, granted), _part(everyone, whole)]
    shared = granted != whole
    words = f"{percent(parts[0])} {'of yours ' if shared else ''}used"
    terms = _budget_of(population, contract)
    if terms is not None:
        delta = terms.delta_conversion
        epsilons = (float(epsilon_of_rho(rho, delta)) for rho in (mine, granted))
        spent, most = (f"{epsilon:.3g}" for epsilon in epsilons)
        words += f" (epsilon {spent} of {most} at delta {_delta_of(terms)})"
    if excluded := limit.get("excludes"):
        words += f"; the formal guarantee excludes: {excluded}"
    if shared or everyone != mine:
        words += f"; everyone together {percent(parts[1])}"
    return Limit("privacy", population, max(parts), words)


def _delta(limit: Mapping[str, Any]) -> Limit:
    """Return what keys, released because many units have them, may spend of delta."""
    population = str(limit["population"])
    if error := limit.get("error"):
        return Limit("delta", population, None, f"{_UNKNOWN}: [{error['code']}] {error['reason']}")
    everyone, whole, mine, granted = (
        _exact(limit[f"{who}{key}"]) for who in ("", "analyst_") for key in ("spent", "limit")
    )
    words = f"{float(mine):.3g} of {float(granted):.3g} for keys used"
    if granted != whole or everyone != mine:
        words += f"; everyone together {float(everyone):.3g} of {float(whole):.3g}"
    return Limit("delta", population, max(_part(mine, granted), _part(everyone, whole)), words)


def _delta_of(terms: Budget) -> str:
    return f"{float(terms.delta_conversion):.3g}" if Fraction(terms.delta_keys) else terms.delta


def _budget_of(population: str, contract: Contract | None) -> Budget | None:
    budgets = contract.budgets if contract is not None else ()
    return next((budget for budget in budgets if budget.population == population), None)


def _expiry(not_after: str, contract: Contract | None, now: datetime) -> Limit:
    end = parse_time(not_after)
    if now >= end:
        return Limit("expiry", "", 1.0, f"ended at {not_after}")
    used = None
    if contract is not None:
        start = parse_time(contract.not_before)
        used = max(0.0, (now - start) / (end - start))
    return Limit("expiry", "", used, f"{_left(end - now)} left, until {not_after}")


def _part(spent: Fraction, whole: Fraction) -> float:
    return float(spent / whole) if whole else 1.0


def _count(value: Fraction) -> str:
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):,.4g}"


def _seconds(units: Fraction) -> str:
    seconds = float(units / _UNITS_PER_SECOND)
    # One unit for what is used and what is allowed, so that the two can be compared.
    return f"{seconds:,.0f} s" if seconds >= 100 or seconds == int(seconds) else f"{seconds:,.1f} s"


def _left(time: timedelta) -> str:
    return f"{time.days} days" if time.days >= 2 else f"{time.total_seconds() / 3600:.0f} hours"


def iter_texts(found: list[Limit], *, width: int) -> Iterator[str]:
    """Yield one line of plain text per limit, with a bar of ``width`` characters."""
    widest = max((len(limit.label) for limit in found), default=0)
    for limit in found:
        full = round(width * min(max(limit.used or 0.0, 0.0), 1.0))
        bar = f"[{'#' * full}{'.' * (width - full)}]" if limit.used is not None else f"[{'?' * width}]"
        yield f"  {limit.label:<{widest}}  {bar}  {limit.words}"
