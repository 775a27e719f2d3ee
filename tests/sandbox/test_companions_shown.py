"""What storage limited is shown beside a value; equal questions are one plan; intervals for the population."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.errors import CloisterError, PlanError
from cloister.plan import algebra as a
from cloister.plan import codec


def digests(vault: world.Vault) -> set[str]:
    return {str(plan) for plan in vault.releases()}


def test_a_number_has_its_clipped_and_capped_shares(visits: cl.Frame) -> None:
    found = visits.bmi.mean().release
    for share in (found.clipped, found.capped):
        assert 0 <= share.low <= share.share <= share.high <= 1
    assert "%" in repr(found.clipped)
    assert math.isnan(visits.smoker.mean().release.clipped.share)
    assert math.isnan(visits.patient_id.nunique().release.capped.share)


def test_a_table_has_them_in_its_own_shape_and_its_parts_keep_them(visits: cl.Frame) -> None:
    found = visits.groupby("sex")[["bmi", "cost"]].mean()
    assert found.release.clipped.share.shape == found.shape
    assert found.bmi.release.clipped.share.equals(found.release.clipped.share.bmi)
    assert visits.groupby("sex").size().release.clipped.share.isna().all()
    assert visits.groupby("sex").size().release.capped.share.notna().all()


def test_a_note_is_shown_with_the_release(visits: cl.Frame) -> None:
    found = visits.cost.mean().release
    noted = dataclasses.replace(found, fact=dataclasses.replace(found.fact, notes=("about 4 % were limited",)))
    assert repr(noted).splitlines()[-1] == "about 4 % were limited"
    assert "about 4 % were limited" in noted._repr_html_()


def test_companions_are_part_of_the_plan_and_no_part_of_the_stated_errors(visits: cl.Frame, vault: world.Vault) -> None:
    visits.bmi.mean()
    plan = codec.decode(vault.releases()[-1])
    assert plan.measures[1:] == (a.Clipped("bmi clipped", a.Col("bmi")), a.Capped("capped"))
    assert isinstance(visits.bmi.mean.cost(n=100).stderr, float)


def test_equal_questions_are_one_plan_whatever_they_are_called(visits: cl.Frame, vault: world.Vault) -> None:
    visits.bmi.mean()
    assert visits.bmi.agg(["mean"]).release.recalled
    assert visits[["bmi"]].mean().release.recalled
    assert len(digests(vault)) == 1
    first = visits.groupby("sex").agg(m=("cost", "mean"), n=("cost", "count"))
    second = visits.groupby("sex").cost.agg(["count", "mean"])
    assert second.release.recalled
    assert first.m.dropna().tolist() == second["mean"].dropna().tolist()
    assert first.n.tolist() == second["count"].tolist()


def test_one_name_for_several_terms_is_numbered(visits: cl.Frame, vault: world.Vault) -> None:
    d = visits.assign(old=visits.age >= 65, young=visits.age < 18)
    found = d[["old", "young"]].mean()
    names = [measure.name for measure in codec.decode(vault.releases()[-1]).measures]
    assert names == ["mean", "mean 2", "age clipped", "capped"]
    assert found.release.clipped.share.notna().all()


def test_a_population_interval_holds_the_one_of_the_noise(quiet: cl.Frame) -> None:
    found = quiet.cost.mean().release
    noise, population = found.interval(), found.interval(population=True)
    assert population.low < noise.low <= noise.high < population.high
    table = quiet.groupby("sex").smoker.mean().release.interval(population=True)
    assert list(table.columns) == ["low", "high"]
    assert ((table.low >= 0) & (table.high <= 1)).all()


def test_a_released_variance_makes_it_shorter(quiet: cl.Frame) -> None:
    alone = quiet.age.mean().release.interval(population=True)
    beside = quiet.age.agg(["mean", "std"]).release.interval(population=True).loc["mean"]
    assert beside.high - beside.low < alone.high - alone.low
    # As large as the sampling error of 3,000 rows of one person each could be, and at most four times that.
    sampling = 1.96 * quiet.age.std() / math.sqrt(3_000)
    assert 2 * sampling < beside.high - beside.low < 4 * sampling * 1.1


def test_only_means_speak_of_a_population(quiet: cl.Frame) -> None:
    with pytest.raises(PlanError, match="means and rates only"):
        quiet.cost.sum().release.interval(population=True)


def test_resampling_says_what_it_needs(visits: cl.Frame) -> None:
    for wrong in (
        lambda: visits.resample("ME"),
        lambda: visits.resample("ME", on="age"),
        lambda: visits.resample("fortnight", on="date"),
        lambda: visits.resample("D", on="date"),
        lambda: visits.resample("ME", on="date", closed="left"),
        lambda: visits.set_index("age"),
        lambda: visits.set_index("date").mean(),
    ):
        with pytest.raises(CloisterError) as caught:
            wrong()
        assert caught.value.nearest
    assert not hasattr(visits.set_index("date"), "nothing")
    assert isinstance(visits.resample("YE", on="date").size().index, pd.DatetimeIndex)


def test_a_name_that_parts_of_dates_and_texts_do_not_have_is_refused_with_a_form(visits: cl.Frame) -> None:
    for part in (visits.date.dt, visits.sex.str, visits.sex.cat):
        assert not hasattr(part, "yeer")
        with pytest.raises(CloisterError) as caught:
            part.yeer  # noqa: B018
        assert caught.value.nearest
    with pytest.raises(CloisterError) as caught:
        visits.age.meen()
    assert "mean" in str(caught.value.nearest)


def test_a_test_without_its_second_column_is_refused_with_a_form(visits: cl.Frame) -> None:
    for call in (lambda: cl.stats.ttest(visits.bmi), cl.stats.ttest, lambda: visits.bmi.mean(1)):
        with pytest.raises(CloisterError) as caught:
            call()
        assert "it is called as" in caught.value.next_step
        assert isinstance(caught.value, TypeError)


def test_a_label_may_be_that_of_a_companion_and_none_may_be_given_twice(visits: cl.Frame, vault: world.Vault) -> None:
    found = visits.groupby("sex").agg(capped=("bmi", "mean"))
    assert found.release.interval(population=True).shape[0]
    before = len(vault.releases())
    with pytest.raises(PlanError) as refused:
        visits.groupby("sex").agg(**{"x": ("bmi", "sem"), "x.n": ("age", "mean")})
    assert refused.value.code == "plan.name"
    assert len(vault.releases()) == before, "refused before it is paid"


def test_missing_arguments_are_refused_in_our_words(visits: cl.Frame) -> None:
    calls = {"cl.match": cl.match, "cl.match.cost": cl.match.cost, "deliver": visits.deliver,
             "deliver.cost": visits.deliver.cost, "ttest": cl.stats.ttest}  # fmt: skip
    for name, call in calls.items():
        with pytest.raises(PlanError) as refused:
            call()
        assert refused.value.code == "api.arguments"
        assert str(refused.value.next_step).startswith(f"it is called as {name}(")
