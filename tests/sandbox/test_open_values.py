"""``value_counts()`` of open text: texts that many people have, charged in rho and delta, the rest left out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.contract.card import Column
from cloister.errors import PlanError
from cloister.plan.companions import left_out
from cloister.sandbox import session as sessions
from cloister.vault import describe
from cloister.vault.engine import Engine
from cloister.vault.question import prepare
from cloister.vault.thresholds import draw

CARD = msgspec.structs.replace(
    world.VISITS, columns=(*world.VISITS.columns, Column("note", "string", 2, "A note", nullable=True))
)
TEXTS = {"cough": 1_500, "fever": 900, "alone": 1}
ROWS = 3_000


class Vault(world.Vault):
    """The vault of the other tests over a table with a free text, under a contract with or without delta for keys."""

    def __init__(self, delta_keys: str = "0.0000005") -> None:
        super().__init__(noise=True)
        contract = self.terms.contract
        budgets = tuple(msgspec.structs.replace(budget, delta_keys=delta_keys) for budget in contract.budgets)
        self.terms = msgspec.structs.replace(
            self.terms,
            cards={**self.terms.cards, CARD.name: CARD},
            contract=msgspec.structs.replace(contract, budgets=budgets),
        )
        self._engine = Engine(1)
        notes = [text for text, times in TEXTS.items() for _ in range(times)]
        rows = world.table(world.VISITS)
        notes += [None] * (rows.num_rows - len(notes))
        people = [f"p{row}" for row in range(rows.num_rows)]
        rows = rows.set_column(rows.column_names.index("patient_id"), "patient_id", [people])
        self._engine.load(CARD.name, CARD, rows.append_column("note", [notes]), bytes(32))

    def _release(self, plan: Any) -> dict[str, Any]:
        question = prepare(plan, self.context, self.terms)
        assert self._engine is not None
        drawn = draw(self._engine.run(question.analysis), question.price)
        return describe.rehearsal(question, drawn.raw, self.terms, drawn.labels)


@pytest.fixture(scope="module")
def visits() -> Any:
    sessions.use(sessions.Session(Vault()))
    yield cl.table("visits")
    sessions.use(None)


def test_texts_of_many_people_are_released_with_how_many(visits: cl.Frame) -> None:
    found = visits.note.value_counts(epsilon=1)
    assert list(found.index) == ["cough", "fever"]
    assert (found.index.name, found.name) == ("note", "count")
    for text, count in found.items():
        assert abs(count - TEXTS[str(text)]) < 6 * found.release.stderr[text]
    assert found.release.units == {"units": "patients"}
    assert list(visits.note.value_counts(epsilon=1, ascending=True).index) == ["fever", "cough"]


def test_what_is_left_out_is_said_with_the_price_and_with_the_values(visits: cl.Frame) -> None:
    price = visits.note.value_counts.cost(epsilon=1)
    assert 0 < price.delta < Fraction("0.0000005")
    assert price.threshold > 10
    said = f"values that fewer than about {price.threshold + 1} "
    assert said in repr(price)
    assert said in repr(visits.note.value_counts(epsilon=1).release)
    assert "counts for at most 4 values" in repr(visits.note.value_counts(epsilon=1).release)


def test_delta_is_the_same_part_of_the_analysts_delta_as_rho_is_of_rho(visits: cl.Frame) -> None:
    price = visits.note.value_counts.cost(share=0.1)
    # The analyst has half of the population's budget.
    assert float(price.delta) == pytest.approx(0.1 * 0.5 * 5e-7, rel=1e-6)


def test_what_is_said_follows_from_the_receipts_noise(visits: cl.Frame) -> None:
    fact = visits.note.value_counts(epsilon=1).release.fact
    price = visits.note.value_counts.cost(epsilon=1)
    text = left_out(fact.plan, fact.parts[0].answered.sigmas[0], fact.rho)
    assert text.startswith(f"values that fewer than about {price.threshold + 1:,} units have are left out")


def test_shares_and_missing_values_are_not_known(visits: cl.Frame) -> None:
    for options in ({"normalize": True}, {"dropna": False}):
        with pytest.raises(PlanError, match="only what many people have"):
            visits.note.value_counts(**options)


def test_without_delta_for_keys_it_is_refused_and_nothing_is_asked() -> None:
    vault = Vault(delta_keys="0")
    sessions.use(sessions.Session(vault))
    try:
        with pytest.raises(PlanError, match="keeps no delta") as caught:
            cl.table("visits").note.value_counts()
        assert (caught.value.code, caught.value.clause) == ("api.delta_keys", "budgets.delta_keys")
        assert "recode" in caught.value.nearest[0]
        assert vault.releases() == []
    finally:
        sessions.use(None)
