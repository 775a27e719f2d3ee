"""What is public is free: catalogue, columns, dtypes, domains, mock rows, completion; none of it asks the vault."""

from __future__ import annotations

import pandas as pd
import pytest
import sandbox_world as world
from hypothesis import given, settings
from hypothesis import strategies as st

import cloister
import cloister.sandbox as cl
from cloister.contract.card import Card
from cloister.errors import CloisterError, MalformedError
from cloister.plan.numbers import rational
from cloister.sandbox import literals
from cloister.sandbox import session as sessions


def test_the_public_face_of_a_table_is_free(visits: cl.Frame, vault: world.Vault) -> None:
    assert list(visits.columns) == [column.name for column in world.VISITS.columns]
    assert list(visits) == list(visits.columns) == list(visits.keys())
    assert "age" in visits
    assert "nothing" not in visits
    assert [name for name, _ in visits.items()] == list(visits)
    assert visits.get("nothing") is None
    assert visits.sex.domain == ["F", "M", "X", "(other)"]
    assert visits.ndim == 2
    assert visits.age.ndim == 1
    repr(visits), repr(visits.age), visits._repr_html_(), visits.mock(3), repr(visits.groupby("sex"))
    assert visits.groupby(["sex", "smoker"]).ngroups == 8
    assert [op for op, _ in vault.asked] == ["describe"]


def test_dtypes_are_those_of_mock_rows(visits: cl.Frame) -> None:
    visits["bmi2"] = visits.bmi**2
    visits["senior"] = visits.age >= 65
    visits["group"] = cl.cut(visits.age, [0, 50, 111], labels=["young", "old"])
    visits["double"] = visits.age * 2
    visits["days"] = visits.date - "2022-01-01"
    visits["word"] = cl.case((visits.age < 18, "child"), default="adult")
    visits["no"] = ~visits.smoker
    visits["filled"] = visits.bmi.fillna(20).clip(15, 40)
    visits["mine"] = visits.region.isin(["north"]) | visits.bmi.isna()
    visits["far"] = abs(visits.cost / 3 - visits.age)
    mock = visits.mock(200)
    assert mock.dtypes.astype(str).to_dict() == visits.dtypes.astype(str).to_dict()
    assert mock.equals(visits.mock(200))
    assert not mock.equals(visits.mock(200, seed=1))
    assert (mock.senior == (mock.age >= 65)).all()
    assert mock.bmi2.dropna().to_numpy() == pytest.approx((mock.bmi.dropna() ** 2).to_numpy())
    assert set(mock.group.dropna()) == {"young", "old"}
    assert ((mock.age < 18) == (mock.word == "child")).all()
    assert mock.filled.between(15, 40).all()
    assert (mock["double"] == 2 * mock.age).all()


def test_mock_rows_follow_the_filters(visits: cl.Frame) -> None:
    rows = visits.query("age >= 50 and sex == 'F'").cap(1).mock(10)
    assert len(rows) == 10
    assert (rows.age >= 50).all()
    assert (rows.sex == "F").all()
    assert rows.patient_id.is_unique
    assert visits.age.mock(4).name == "age"


def test_completion_offers_columns(visits: cl.Frame) -> None:
    assert {"age", "sex", "groupby", "mock"} <= set(dir(visits))
    assert "head" not in dir(visits)
    assert visits._ipython_key_completions_() == list(visits)
    assert {"mean", "isin", "fillna"} <= set(dir(visits.age))
    assert {"age", "mean"} <= set(dir(visits.groupby("sex")))
    assert cl.tables()._ipython_key_completions_() == list(world.CARDS)
    assert visits.bmi.mean.__doc__ is not None


def test_the_catalogue_shows_tiers(vault: world.Vault) -> None:
    tables = cl.tables()
    assert list(tables) == list(world.CARDS)
    assert len(tables) == 2
    assert "clinic.visits" in tables
    assert list(tables["clinic.visits"]) == list(cl.table("visits"))
    assert "tier 2..3" in repr(tables)
    assert "tier 4" in tables._repr_html_()
    assert tables.to_frame().shape[0] == sum(len(card.columns) for card in world.CARDS.values())
    assert isinstance(tables.card("visits"), Card)


def test_the_contract_is_in_plain_words(vault: world.Vault) -> None:
    assert "A contract for tests" in repr(cl.contract())
    assert "Rows never leave" in cl.contract()._repr_html_()
    assert cl.contract().terms.name == "test"


def test_cl_contract_is_a_function_and_cloister_contract_a_package(vault: world.Vault) -> None:
    import cloister.contract.card as card_module

    assert cloister.contract().digest == cl.contract().digest
    assert cloister.contract.card is card_module
    assert {"table", "contract", "budget", "cut"} <= set(dir(cloister))


def test_the_budget_shows_every_limit(vault: world.Vault) -> None:
    budget = cl.budget()
    assert budget.left == pytest.approx(0.75)
    text = repr(budget)
    assert "75.0 % of your privacy budget left" in text
    assert "clinic.patients" in text
    assert "3 of 1,000 releases" in text
    assert "valid until" in text
    assert "#" in text
    assert "12,288 of 1,000,000,000 rows scanned" in text
    assert "0.6 of 100,000.0 s of computing" in text
    assert "none allowed: 0 of 0 models" in text
    assert f"models    [{'#' * 24}]" in text, "of nothing, everything is used"
    shown = budget._repr_html_()
    assert shown.count("<tr>") == 7
    assert shown.count("width:160px") == 5, "one bar per limit, none for the expiry"
    assert list(budget.to_frame().name) == ["privacy", "releases", "rows", "compute", "models", "expiry"]
    assert budget.time == "2026-11-21T09:00:00Z"
    assert budget.time not in text + shown, "a replay shows the same"


def test_a_broker_that_does_not_answer_leaves_the_other_limits_readable(
    vault: world.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = vault._budget(None)
    silent = {
        "name": "privacy", "population": "bank.customers", "broker": "bank", "limit": "1", "analyst_limit": "1",
        "error": {"code": "broker.unavailable", "reason": "no <answer>"},
    }  # fmt: skip
    monkeypatch.setattr(vault, "_budget", lambda _plan: {**told, "limits": [silent, *told["limits"]]})
    budget = cl.budget()
    assert budget.left == pytest.approx(0.75)
    text = repr(budget)
    assert "75.0 % of your privacy budget left where a broker answered" in text
    assert "bank.customers at bank: unknown now: no <answer> (broker.unavailable)" in text
    assert "<answer>" not in budget._repr_html_()
    assert budget.limits[0].used is None


@pytest.mark.parametrize("reply", [{}, {"limits": [{}], "time": ""}, {"limits": 3, "time": ""}])
def test_a_budget_that_cannot_be_read_is_refused(
    reply: dict[str, object], vault: world.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "_budget", lambda _plan: reply)
    with pytest.raises(MalformedError):
        cl.budget()


def test_texts_of_a_card_cannot_inject_html(vault: world.Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    import msgspec

    evil = msgspec.structs.replace(world.VISITS, title="<script>alert(1)</script>", description="<img src=x>")
    session = sessions.current()
    monkeypatch.setitem(session.about.cards, "clinic.visits", evil)
    for shown in (cl.tables()._repr_html_(), cl.table("clinic.visits")._repr_html_()):
        assert "<script" not in shown
        assert "<img" not in shown


def test_an_unknown_table_names_the_nearest(vault: world.Vault) -> None:
    with pytest.raises(CloisterError, match=r"plan\.table") as caught:
        cl.table("clinic.visit")
    assert caught.value.nearest == ("cl.table('clinic.visits')",)
    with pytest.raises(CloisterError):
        cl.table(3)  # type: ignore[arg-type]


def test_outside_a_kernel_cl_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions.use(None)
    monkeypatch.delenv("CLOISTER_LINK_FD", raising=False)
    for call in (lambda: cl.table("x"), cl.tables, cl.contract, cl.budget):
        with pytest.raises(CloisterError, match=r"link\.absent"):
            call()


def test_a_description_that_is_none_is_refused(vault: world.Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "_describe", lambda _plan: {"contract": {}})
    with pytest.raises(MalformedError):
        sessions.Session(vault)


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_float_is_the_decimal_that_was_written(value: float) -> None:
    if value == 0 or abs(value) > 1e-20:
        assert float(rational(literals.number_text(value))) == value


@settings(max_examples=200, deadline=None)
@given(st.fractions(max_denominator=10**6))
def test_rationals_keep_their_value(value: object) -> None:
    assert rational(literals.number_text(value)) == value


def test_numbers_are_exact() -> None:
    assert literals.number_text(24.9) == "24.9"
    assert literals.number_text(1e-3) == "0.001"
    assert literals.number_text(-0.5) == "-0.5"
    assert literals.date_text("2024") == "2024-01-01"
    assert literals.date_text(pd.Timestamp("2024-05-06")) == "2024-05-06"
