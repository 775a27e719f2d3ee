"""``cl.contract()`` and ``cl.tables()``: what is allowed and what there is. Both free."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.contract.words import in_words
from cloister.errors import CloisterError
from cloister.sandbox import html
from cloister.sandbox.frame import Frame
from cloister.sandbox.session import Session


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
                f"  {card.name}  [{_tiers(card)}]  {card.title}: {len(card.columns)} columns, unit {_unit(card)}"
            )
            lines.append(f"    {', '.join(column.name for column in card.columns)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            [
                html.strong(card.name),
                html.tier(max(column.tier for column in card.columns)),
                html.paragraph(html.text(card.title)) + html.note(card.description),
                html.text(f"{_unit(card)}, {_rows(card.rows_per_unit)} each"),
                html.text(", ".join(column.name for column in card.columns)),
            ]
            for card in self._session.about.cards.values()
        ]
        mark = html.mark(self._session.about.mode, self._session.about.assurance)
        return html.block(mark, html.table(["table", "highest tier", "what it is", "unit", "columns"], rows))


def _unit(card: Card) -> str:
    """Return what a table protects; tables whose keys were hashed align under one salt only."""
    return f"{card.unit} (keys hashed, salt {card.salt_id[7:15]})" if card.salt_id else card.unit


def _rows(most: int) -> str:
    return "one row" if most == 1 else f"at most {most} rows"


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


def _tiers(card: Card) -> str:
    tiers = sorted({column.tier for column in card.columns})
    return "tier " + (str(tiers[0]) if len(tiers) == 1 else f"{tiers[0]}..{tiers[-1]}")
