"""``cl.budget()``: every limit of the contract with what is spent of it, as one bar each. Free.

What is shown is a function of the figures alone (no time of day), so that a replay from receipts shows the same.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pandas as pd

from cloister.errors import MalformedError
from cloister.plan import tighter
from cloister.sandbox import html, render
from cloister.sandbox.session import Session

_BAR = 24
_COUNTS = {
    "releases": "{spent:,} of {limit:,} releases",
    "rows": "{spent:,} of {limit:,} rows scanned (planned, by declared size)",
    "compute": "{spent:,.1f} of {limit:,.1f} s of computing (planned)",
    "models": "{spent:,} of {limit:,} models",
}


@dataclasses.dataclass(frozen=True)
class Limit:
    """One limit of the contract.

    Attributes:
        name: ``privacy``, ``delta`` (of keys, where the contract grants any), ``releases``, ``rows``, ``compute``,
            ``models`` or ``expiry``.
        about: The account, of a privacy limit.
        used: The part (0..1) that is used, the analyst's own part where there is one; None if nobody can say now, and
            of the expiry.
        words: The same for people.
    """

    name: str
    about: str
    used: float | None
    words: str


class Budget:
    """Every limit of the contract with what is spent of it; ``time`` is when the brokers stated it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        found = session.budget()
        try:
            self.time = str(found["time"])
            self._stated: list[dict[str, Any]] = found["limits"]
            self.limits = tuple(_limit(session, limit) for limit in found["limits"])
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise MalformedError("link.reply", "the vault's statement of the budget cannot be read") from error

    @property
    def left(self) -> float:
        """The smallest part (0..1) left of any privacy limit that a broker told about."""
        used = [limit.used for limit in self.limits if limit.name == "privacy" and limit.used is not None]
        return 1 - max(used, default=0.0)

    def to_frame(self) -> pd.DataFrame:
        """Return the limits as a DataFrame."""
        return pd.DataFrame([dataclasses.asdict(limit) for limit in self.limits])

    def report(self) -> pd.DataFrame:
        """Return the epsilon spent, as the account promises it (zCDP) and as Gaussian noise composes exactly.

        The second is a report, not a promise: it holds if no quantile was released (the broker states sums; the
        provider's own ``cloister account report`` tells quantiles apart) and nothing was chosen by looking at results.
        Nothing that decides about a release reads it.
        """
        rows = []
        for limit in self._stated:
            if limit["name"] != "privacy" or "error" in limit:
                continue
            account = next(a for a in self._session.about.budgets if a.population == limit["population"])
            for whose, name in (("yours", "analyst_spent"), ("everybody's", "spent")):
                spent = Fraction(limit[name])
                rows.append(
                    {
                        "population": limit["population"],
                        "broker": limit["broker"],
                        "spent": whose,
                        "delta": float(account.delta_conversion),
                        "epsilon (promise, zCDP)": account.epsilon_of(spent),
                        f"epsilon ({tighter.LABEL}: exact Gaussian)": tighter.gaussian_epsilon(
                            spent, account.delta_conversion
                        ),
                    }
                )
        return pd.DataFrame(rows)

    def _head(self) -> str:
        if self._session.mock:
            return "MOCK kernel: nothing is charged here"
        if self._session.about.mode == "teaching":
            return f"LESSON, {self._session.about.assurance}: {100 * self.left:.1f} % of its budget left"
        silent = any(limit.name == "privacy" and limit.used is None for limit in self.limits)
        known = " where a broker answered" if silent else ""
        return f"{100 * self.left:.1f} % of your privacy budget left{known}"

    def __repr__(self) -> str:
        return "\n".join([self._head(), *map(_line, self.limits)])

    def _repr_html_(self) -> str:
        rows = [
            [
                html.text(limit.name),
                html.text(limit.about),
                "" if limit.used is None else html.bar(limit.used, _colour(limit.used)),
                html.text(limit.words),
            ]
            for limit in self.limits
        ]
        mark = html.mark(self._session.about.mode, self._session.about.assurance)
        head = html.paragraph(html.strong(self._head()), mark)
        return html.block(head, html.table(["limit", "of", "used", ""], rows))


def _line(limit: Limit) -> str:
    bar = " " * (_BAR + 2)
    if limit.used is not None:
        full = round(_BAR * min(max(limit.used, 0.0), 1.0))
        bar = f"[{'#' * full}{'.' * (_BAR - full)}]"
    return f"  {limit.name:<9} {bar} {limit.about}{': ' if limit.about else ''}{limit.words}"


def _limit(session: Session, limit: dict[str, Any]) -> Limit:
    name = limit["name"]
    if name == "delta":
        return _delta(limit)
    if name == "privacy":
        return _privacy(session, limit)
    if name == "expiry":
        return Limit(name, "", None, f"valid until {limit['not_after']}")
    spent, granted = int(limit["spent"]), int(limit["limit"])
    # Computing is counted in units of 100 ms and read in seconds.
    shown = (spent / 10, granted / 10) if name == "compute" else (spent, granted)
    words = _COUNTS[name].format(spent=shown[0], limit=shown[1])
    return Limit(name, "", _part(Fraction(spent), Fraction(granted)), words if granted else f"none allowed: {words}")


def _privacy(session: Session, limit: dict[str, Any]) -> Limit:
    about = f"{limit['population']} at {limit['broker']}"
    if "error" in limit:
        return Limit("privacy", about, None, f"unknown now: {limit['error']['reason']} ({limit['error']['code']})")
    mine, all_of_it = Fraction(limit["analyst_limit"]), Fraction(limit["limit"])
    spent, everyone = Fraction(limit["analyst_spent"]), Fraction(limit["spent"])
    words = f"{render.percent(_part(spent, mine))} of yours spent"
    account = next((a for a in session.about.budgets if a.population == limit["population"]), None)
    if account is not None:
        epsilons = f"epsilon {account.epsilon_of(spent):.3g} of {account.epsilon_of(mine):.3g}"
        words += f" ({epsilons} at delta {account.shown_delta})"
    if excluded := limit.get("excludes"):
        words += f"; the formal guarantee excludes: {excluded}"
    if mine != all_of_it:
        words += f"; everyone together {render.percent(_part(everyone, all_of_it))}"
    return Limit("privacy", about, max(_part(spent, mine), _part(everyone, all_of_it)), words)


def _delta(limit: dict[str, Any]) -> Limit:
    """Return the delta that keys, released because many units have them, may spend."""
    about = f"{limit['population']} at {limit['broker']}"
    if "error" in limit:
        return Limit("delta", about, None, f"unknown now: {limit['error']['reason']} ({limit['error']['code']})")
    mine, all_of_it = Fraction(limit["analyst_limit"]), Fraction(limit["limit"])
    spent, everyone = Fraction(limit["analyst_spent"]), Fraction(limit["spent"])
    words = f"{float(spent):.3g} of {float(mine):.3g} for keys spent"
    if mine != all_of_it:
        words += f"; everyone together {float(everyone):.3g} of {float(all_of_it):.3g}"
    return Limit("delta", about, max(_part(spent, mine), _part(everyone, all_of_it)), words)


def _part(spent: Fraction, limit: Fraction) -> float:
    """Return how much of a limit is used; of nothing, everything is."""
    return float(spent / limit) if limit else 1.0


def _colour(used: float) -> str:
    return "#a3243b" if used > 0.9 else "#b8860b" if used > 0.7 else "#3b6ea5"
