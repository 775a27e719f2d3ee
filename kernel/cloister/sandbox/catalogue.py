"""``cl.contract()``, ``cl.tables()``, ``cl.budget()``: what is allowed, what there is, what is left. All free."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pandas as pd

from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.contract.words import in_words
from cloister.errors import CloisterError, MalformedError
from cloister.sandbox import html, render
from cloister.sandbox.frame import Frame
from cloister.sandbox.session import Session

_BAR = 24


class ContractView:
    """The contract of this kernel in plain words; ``terms`` is the document itself."""

    def __init__(self, session: Session) -> None:
        self.terms: Contract = session.about.contract
        self.digest = session.about.contract_digest
        self.mode = session.about.mode
        self.assurance = session.about.assurance
        self.analyst = session.about.analyst

    def _foot(self) -> str:
        words = {"mock": "MOCK kernel: invented rows, nothing is charged", "teaching": f"lesson, {self.assurance}"}
        state = words.get(self.mode, f"enclave: {self.assurance}")
        return f"{state}; you are {self.analyst}; contract {self.digest}"

    def __repr__(self) -> str:
        return f"{in_words(self.terms)}\n{self._foot()}"

    def _repr_html_(self) -> str:
        title, *lines = in_words(self.terms).splitlines()
        body = "".join(html.paragraph(html.text(line)) for line in lines)
        mark = html.mark(self.mode, self.assurance)
        return html.block(html.paragraph(html.strong(title), mark), body, html.note(self._foot()))


class Tables:
    """The catalogue: the tables of the contract, with tiers. ``tables["st_anna.visits"]`` is the handle."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getitem__(self, name: str) -> Frame:
        return Frame.of_table(self._session, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._session.about.cards)

    def __len__(self) -> int:
        return len(self._session.about.cards)

    def __contains__(self, name: object) -> bool:
        return name in self._session.about.cards

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def card(self, name: str) -> Card:
        """Return the data card of a table."""
        return self._session.card(name)

    def to_frame(self) -> pd.DataFrame:
        """Return the catalogue as a DataFrame, one column of a table per row."""
        return pd.DataFrame(
            [
                {"table": card.name, "column": c.name, "type": c.type, "tier": c.tier, "description": c.description}
                for card in self._session.about.cards.values()
                for c in card.columns
            ]
        )

    def __repr__(self) -> str:
        words = {"mock": "  (mock: invented rows)", "teaching": "  (lesson: invented rows)"}
        mock = words.get(self._session.about.mode, "")
        lines = [f"{len(self)} tables under contract {self._session.about.contract.name}{mock}"]
        for card in self._session.about.cards.values():
            lines.append(
                f"  {card.name}  [{_tiers(card)}]  {card.title}: {len(card.columns)} columns, unit {card.unit}"
            )
            lines.append(f"    {', '.join(column.name for column in card.columns)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            [
                html.strong(card.name),
                html.tier(max(column.tier for column in card.columns)),
                html.paragraph(html.text(card.title)) + html.note(card.description),
                html.text(f"{card.unit}, at most {card.rows_per_unit} rows each"),
                html.text(", ".join(column.name for column in card.columns)),
            ]
            for card in self._session.about.cards.values()
        ]
        mark = html.mark(self._session.about.mode, self._session.about.assurance)
        return html.block(mark, html.table(["table", "highest tier", "what it is", "unit", "columns"], rows))


@dataclasses.dataclass(frozen=True)
class Limit:
    """One limit of the contract: what is spent of how much, and the analyst's own part where there is one."""

    name: str
    about: str
    used: float
    words: str


class Budget:
    """Every limit of the contract with what is spent of it, as the brokers state it now."""

    def __init__(self, session: Session) -> None:
        self._session = session
        found = session.budget()
        try:
            self.time = str(found["time"])
            self.limits = tuple(_limit(session, limit) for limit in found["limits"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise MalformedError("link.reply", "the vault's statement of the budget cannot be read") from error

    @property
    def left(self) -> float:
        """The smallest part (0..1) left of any privacy limit."""
        return min((1 - limit.used for limit in self.limits if limit.name == "privacy"), default=1.0)

    def to_frame(self) -> pd.DataFrame:
        """Return the limits as a DataFrame."""
        return pd.DataFrame([dataclasses.asdict(limit) for limit in self.limits])

    def _head(self) -> str:
        if self._session.mock:
            return "MOCK kernel: nothing is charged here"
        if self._session.about.mode == "teaching":
            return f"LESSON, {self._session.about.assurance}: {100 * self.left:.1f} % of its budget left"
        return f"{100 * self.left:.1f} % of your privacy budget left"

    def __repr__(self) -> str:
        lines = [self._head()]
        for limit in self.limits:
            full = round(_BAR * min(max(limit.used, 0.0), 1.0))
            bar = f"[{'#' * full}{'.' * (_BAR - full)}]" if limit.name != "expiry" else " " * (_BAR + 2)
            lines.append(f"  {limit.name:<9} {bar} {limit.about}{': ' if limit.about else ''}{limit.words}")
        return "\n".join([*lines, f"  as of {self.time}"])

    def _repr_html_(self) -> str:
        rows = [
            [
                html.text(limit.name),
                html.text(limit.about),
                html.bar(limit.used, _colour(limit.used)) if limit.name != "expiry" else "",
                html.text(limit.words),
            ]
            for limit in self.limits
        ]
        mark = html.mark(self._session.about.mode, self._session.about.assurance)
        head = html.paragraph(html.strong(self._head()), mark)
        return html.block(head, html.table(["limit", "of", "used", ""], rows), html.note(f"as of {self.time}"))


def open_table(session: Session, name: str) -> Frame:
    """Return the handle of a table.

    Raises:
        CloisterError: Not the name of a table of the contract.
    """
    if not isinstance(name, str):
        raise CloisterError(
            "api.table", "a table is opened by its name", next_step=f"names: {', '.join(session.about.cards)}"
        )
    return Frame.of_table(session, name)


def _limit(session: Session, limit: dict[str, Any]) -> Limit:
    name = limit["name"]
    if name == "privacy":
        mine, all_of_it = Fraction(limit["analyst_limit"]), Fraction(limit["limit"])
        spent, everyone = Fraction(limit["analyst_spent"]), Fraction(limit["spent"])
        used = max(float(spent / mine), float(everyone / all_of_it))
        words = f"{render.percent(float(spent / mine))} of yours spent"
        account = next((a for a in session.about.budgets if a.population == limit["population"]), None)
        if account is not None:
            words += (
                f" (epsilon {account.epsilon_of(spent):.3g} of {account.epsilon_of(mine):.3g} at delta {account.delta})"
            )
        if mine != all_of_it:
            words += f"; everyone together {render.percent(float(everyone / all_of_it))}"
        return Limit(name, f"{limit['population']} at {limit['broker']}", used, words)
    if name == "releases":
        return Limit(name, "", limit["spent"] / limit["limit"], f"{limit['spent']:,} of {limit['limit']:,} releases")
    return Limit(name, "", 0.0, f"valid until {limit['not_after']}")


def _tiers(card: Card) -> str:
    tiers = sorted({column.tier for column in card.columns})
    return "tier " + (str(tiers[0]) if len(tiers) == 1 else f"{tiers[0]}..{tiers[-1]}")


def _colour(used: float) -> str:
    return "#a3243b" if used > 0.9 else "#b8860b" if used > 0.7 else "#3b6ea5"
