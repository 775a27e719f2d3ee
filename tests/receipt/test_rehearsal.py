"""The chip of a mock cell: a question, a price, no value, and no doubt that nothing happened."""

from __future__ import annotations

import msgspec
import pytest

from cloister.receipt.facts import Cost
from cloister.receipt.rehearsal import (
    MAX_SHOWN,
    MOCK,
    REHEARSAL_MIME,
    Rehearsal,
    RehearsalFacts,
    display,
    rehearsal_facts,
)

ASKED = RehearsalFacts("r1", "visits: mean of bmi by sex", (Cost("st_anna", "0.094", "2 %"), Cost("b", "0.1", "3 %")))


def test_a_chip_says_what_was_asked_what_it_would_cost_and_that_nothing_happened() -> None:
    data, metadata = display([ASKED])
    assert data[REHEARSAL_MIME] == {"version": 1}
    for shown in (data["text/plain"], data["text/html"]):
        assert MOCK in shown
        assert "visits: mean of bmi by sex" in shown
        assert "would cost 2 % of st_anna (epsilon 0.094); 3 % of b (epsilon 0.1)" in shown
    assert "repeating-linear-gradient" in data["text/html"]
    assert metadata == {"cloister": {"rehearsals": [msgspec.to_builtins(ASKED)]}}


def test_a_release_asked_twice_is_shown_once_and_many_are_cut() -> None:
    data, metadata = display([ASKED, ASKED])
    assert len(metadata["cloister"]["rehearsals"]) == 1
    many = [RehearsalFacts(str(number), "q", ()) for number in range(MAX_SHOWN + 5)]
    data, metadata = display(many)
    assert len(metadata["cloister"]["rehearsals"]) == MAX_SHOWN
    assert "5 more" in data["text/plain"]
    assert "5 more" in data["text/html"]


def test_words_of_an_enclave_are_escaped() -> None:
    data, _ = display([RehearsalFacts("r", "<script>alert(1)</script>", (Cost("<b>", "1", "1 %"),))])
    assert "<script" not in data["text/html"]
    assert "<b>" not in data["text/html"]


def test_without_a_contract_the_price_is_not_known() -> None:
    found = rehearsal_facts(msgspec.convert({"release": "r", "costs": []}, type=Rehearsal), None)
    assert "not known" in display([found])[0]["text/plain"]


@pytest.mark.parametrize("rho", ["1e999999999", "-1", "1/0", "", "nan", "9" * 500])
def test_a_price_that_is_no_fraction_is_no_rehearsal(rho: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"release": "r", "costs": [{"population": "p", "rho": rho}]}, type=Rehearsal)
