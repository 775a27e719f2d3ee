"""The demo's tables are what the deliverables say, and the cards describe them without having looked."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from cloister.contract.card import Card
from cloister.demo import cards, generators
from cloister.wire import canonical


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return {name: build() for name, build in generators.TABLES.items()}


def test_sizes_are_those_promised(frames: dict[str, pd.DataFrame]) -> None:
    per_patient = frames["st_anna.visits"].groupby("patient_id").size()
    assert len(per_patient) == 20_000
    assert set(per_patient) == {1, 2, 3, 4, 5, 6}
    assert len(frames["survey.fair"]) == 6_366
    assert len(frames["st_anna.diabetes"]) == 442
    assert len(frames["city_bank.customers"]) == 100_000
    for name, key in (
        ("survey.fair", "respondent"), ("st_anna.diabetes", "subject"), ("city_bank.customers", "customer_id"),
    ):  # fmt: skip
        assert frames[name][key].is_unique


def test_generators_are_deterministic_and_seeded() -> None:
    pd.testing.assert_frame_equal(generators.visits(50), generators.visits(50))
    assert not generators.visits(50).equals(generators.visits(50, seed=1))


def test_the_written_effects_are_in_the_data(frames: dict[str, pd.DataFrame]) -> None:
    visits = frames["st_anna.visits"]
    by_sex = visits.groupby("sex").bmi.mean()
    assert 0.5 < by_sex["male"] - by_sex["female"] < 1.1
    by_region = visits.groupby("region").cost.mean()
    assert by_region.idxmax() == "centre"
    assert by_region.idxmin() == "south"
    churn = frames["city_bank.customers"].groupby("products").churned.mean()
    assert churn.is_monotonic_decreasing


@pytest.mark.parametrize("card", cards.CARDS, ids=lambda card: card.name)
def test_card_describes_its_table(card: Card, frames: dict[str, pd.DataFrame]) -> None:
    frame = frames[card.name]
    assert [column.name for column in card.columns] == list(frame.columns)
    assert len(frame) <= card.row_limit
    assert frame.groupby(list(card.key)).size().max() <= card.rows_per_unit
    for column in card.columns:
        values = frame[column.name]
        assert column.nullable or values.notna().all(), column.name
        if column.domain is not None:
            assert set(values) <= set(column.domain)
        if column.type in ("int", "decimal"):
            assert values.min() >= float(Fraction(column.low)), column.name
            assert values.max() <= float(Fraction(column.high)), column.name
            assert (Fraction(column.high) - Fraction(column.low)) % Fraction(column.step) == 0, column.name
        if column.type == "bool":
            assert values.dtype == np.bool_


@pytest.mark.parametrize("card", cards.CARDS, ids=lambda card: card.name)
def test_card_gives_nothing_away(card: Card, frames: dict[str, pd.DataFrame]) -> None:
    """No bound equals an extreme of the data, no size is the actual one; the real tables show it best."""
    frame = frames[card.name]
    assert card.row_limit & (card.row_limit - 1) == 0
    assert card.row_limit != len(frame)
    for column in card.columns:
        if column.type == "decimal":
            assert float(Fraction(column.high)) != frame[column.name].max(), column.name
    assert canonical.digest(card).startswith("sha256:")


def test_the_diabetes_study_is_that_of_scikit_learn(frames: dict[str, pd.DataFrame]) -> None:
    from sklearn.datasets import load_diabetes

    theirs = load_diabetes(scaled=False, as_frame=True).frame
    ours = frames["st_anna.diabetes"].drop(columns="subject")
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, check_exact=True)


def test_the_survey_holds_a_sensitive_column() -> None:
    tiers = {column.name: column.tier for column in cards.FAIR.columns}
    assert tiers["affairs"] == max(tiers.values()) == 3
