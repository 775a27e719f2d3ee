"""What an embedded demo consists of: the tables of some providers, and the terms of one contract over them.

Light on purpose: a notebook may import a case's generator, and needs none of what playing every party needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import pandas as pd

from cloister.contract.card import Card
from cloister.contract.exits import Exits

Tables = dict[str, Callable[[], pd.DataFrame]]


class Scene(NamedTuple):
    """An embedded demo.

    Attributes:
        name: What its folder and, for a case, its kernel are called.
        title: One line for people; it is the contract's title.
        cards: The data cards; the part of a table's name before the dot is its provider.
        tables: A generator for each card, by table name.
        exits: What leaves without noise, if anything.
        brokers: ``one`` keeps all accounts, or ``each`` provider has a broker of its own.
        epsilon: Budget of every population.
        releases: Limit of the contract; the other limits follow from it.
        display_mark: Whether what notebooks display carries a mark.
        effect: How much of a case's effect its tables have, as text: "1" as its notebook says, "0" none.
    """

    name: str
    title: str
    cards: tuple[Card, ...]
    tables: Tables
    exits: Exits = Exits()
    brokers: Literal["one", "each"] = "one"
    epsilon: str = "8"
    releases: int = 10_000
    display_mark: bool = False
    effect: str = "1"

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the providers, sorted."""
        return tuple(sorted({provider_of(card) for card in self.cards}))


def provider_of(card: Card) -> str:
    """Return who provides a table of a scene."""
    return card.name.partition(".")[0]
