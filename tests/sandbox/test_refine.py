"""Refining a released value: the difference is charged, and what is shown is what a verifier computes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.errors import CloisterError, PlanError
from cloister.plan import codec, combine
from cloister.plan.algebra import Col, Count, Mean, Quantile, Sum, Table, VectorSum
from cloister.plan.layout import layout
from cloister.plan.shape import shape
from cloister.sandbox.release import ReleasedInt


def asked(vault: world.Vault) -> list[VectorSum]:
    return [codec.decode(plan) for plan in vault.releases()]


def test_it_asks_the_difference_and_is_as_good_as_one_release(visits: cl.Frame, vault: world.Vault) -> None:
    rough = visits.age.count(share=0.01)
    fine = rough.release.refine(share=0.04)
    first, second = asked(vault)
    assert (first.draw, second.draw) == (0, 1)
    assert combine.family(first) == combine.family(second)
    at_once = visits.age.count.cost(share=0.04)
    assert Fraction(first.rho) + Fraction(second.rho) == Fraction(visits.age.count(share=0.04).release.fact.plan.rho)
    assert isinstance(fine, ReleasedInt)
    release = fine.release
    assert release.stderr == pytest.approx(at_once.stderr, rel=0.01)
    assert release.share == pytest.approx(0.04, rel=1e-6)
    assert release.cost == pytest.approx(0.03, rel=1e-6)
    assert len(release.receipts) == 2
    assert len(rough.release.receipts) == 1


def test_repeatedly_and_recalled(visits: cl.Frame, vault: world.Vault) -> None:
    m = visits.groupby("sex").bmi.mean(share=0.01)
    for share in (0.02, 0.05):
        m = m.release.refine(share=share)
    assert [plan.draw for plan in asked(vault)] == [0, 1, 2]
    assert len(m.release.receipts) == 3
    again = visits.groupby("sex").bmi.mean(share=0.01).release.refine(share=0.02).release.refine(share=0.05)
    assert again.equals(m), "the same steps are recalled"
    assert again.release.recalled
    assert again.release.cost == 0


def test_what_is_shown_is_the_combination_a_verifier_computes(visits: cl.Frame) -> None:
    m = visits.bmi.mean(share=0.01)
    fine = m.release.refine(share=0.03)
    parts = fine.release.fact.parts
    raw, sigmas = combine.combine(parts[0].plan, world.CARDS, [part.answered for part in parts])
    assert shape(parts[0].plan, world.CARDS, raw, sigmas).measures[0].values[0] == float(fine)
    assert fine.release.low <= fine <= fine.release.high


def test_nothing_is_asked_where_nothing_is_gained(visits: cl.Frame, vault: world.Vault) -> None:
    m = visits.bmi.mean(share=0.04)
    before = len(vault.releases())
    for wish in ({"share": 0.04}, {"share": 0.01}, {}):
        with pytest.raises(PlanError) as caught:
            m.release.refine(**wish)
        assert caught.value.code == "api.refine"
        assert caught.value.next_step or caught.value.nearest
    assert len(vault.releases()) == before


def test_a_quantile_is_chosen_and_not_added_up() -> None:
    plan = VectorSum(Table("clinic.visits"), (Quantile("q", Col("age"), ("1/2",)),), "1/100")
    with pytest.raises(PlanError) as caught:
        combine.check_refinable(plan)
    assert caught.value.code == "api.refine"


# The combination -------------------------------------------------------------------------------------

PLAN = VectorSum(Table("clinic.visits"), (Count("n"), Mean("m", Col("age"))), "1/100", ("sex",))


def test_weights_are_inverse_variances_and_exact() -> None:
    plan = VectorSum(Table("clinic.visits"), (Count("n"), Sum("s", Col("age"))), "1/100", ("sex",))
    cells = layout(plan, world.CARDS).cells
    one = combine.Answered((100, 100) * cells, (10.0, 10.0))
    other = combine.Answered((200, 200) * cells, (5.0, 20.0))
    raw, sigmas = combine.combine(plan, world.CARDS, [one, other])
    assert raw == (180, 120) * cells
    expected = [math.sqrt(1 / (1 / s**2 + 1 / t**2) + 1 / 12) for s, t in ((10, 5), (10, 20))]
    assert sigmas == pytest.approx(expected)
    assert combine.combine(plan, world.CARDS, [one]) == (one.raw, one.sigmas), "one answer stays what it is"


@pytest.mark.parametrize("sigmas", [(1.0, 0.7), (3.0, 4.0), (40.0, 10.0)])
def test_the_interval_still_covers(sigmas: tuple[float, float]) -> None:
    """Coverage of the combined count over 4,000 seeded noises; a false alarm is three standard errors away."""
    from cloister.plan.gaussian import half_width

    rng, trials = np.random.default_rng(7), 4_000
    plan = VectorSum(Table("clinic.visits"), (Count("n"),), "1/100")
    draws = [np.rint(rng.normal(0, sigma, trials)).astype(int) for sigma in sigmas]
    inside = 0
    for pair in zip(*draws, strict=True):
        answers = [combine.Answered((1000 + int(z),), (sigma,)) for z, sigma in zip(pair, sigmas, strict=True)]
        (value,), (sigma,) = combine.combine(plan, world.CARDS, answers)
        inside += abs(value - 1000) <= half_width(sigma)
    assert inside / trials >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)


def test_what_a_value_can_rest_on() -> None:
    from msgspec.structs import replace

    other = replace(PLAN, keys=())
    plans = {"a": PLAN, "b": replace(PLAN, rho="1/50", draw=1), "c": replace(PLAN, rho="1/20", draw=1)}
    assert set(combine.chains(plans)) == {("a", "b"), ("a", "c")}
    assert set(combine.chains({**plans, "d": replace(PLAN, draw=3)})) == {("a", "b"), ("a", "c")}, "no gap"
    assert list(combine.chains({"a": PLAN, "b": replace(other, draw=1)})) == [], "another question"
    assert list(combine.chains({"b": plans["b"], "c": plans["c"]})) == [], "without the first answer"


def test_answers_of_another_shape_are_refused() -> None:
    plan = VectorSum(Table("clinic.visits"), (Count("n"),), "1/100")
    with pytest.raises(CloisterError):
        combine.combine(plan, world.CARDS, [combine.Answered((1,), (1.0,)), combine.Answered((1, 2), (1.0,))])


# The price of a rehearsal, and the report ------------------------------------------------------------


def test_a_mock_kernel_tells_what_its_releases_would_cost() -> None:
    session, _ = world.session()
    from cloister.sandbox.catalogue import open_table
    from cloister.sandbox.rehearsal import rehearsal

    visits = open_table(session, "clinic.visits")
    assert rehearsal(session).releases == 0
    for _ in range(2):
        visits.age.count(share=0.02)
    visits.bmi.mean(share=0.03)
    found = rehearsal(session)
    assert found.releases == 2, "a question asked twice is paid once"
    assert found.share["clinic.patients"] == pytest.approx(0.05, rel=1e-6)
    assert found.epsilon["clinic.patients"] > 0
    assert "2 releases" in repr(found)
    confidential, _ = world.session(mode="confidential")
    with pytest.raises(CloisterError, match=r"api\.rehearsal"):
        rehearsal(confidential)


def test_the_report_stands_beside_the_promise() -> None:
    from cloister.sandbox.budget import Budget

    session, _ = world.session(mode="confidential")
    found = Budget(session).report()
    promised, reported = (found[name] for name in found.columns if name.startswith("epsilon"))
    assert (reported < promised).all()
    assert any("report, not a promise" in name for name in found.columns)


def test_as_precise_as_asked_though_what_is_combined_is_rounded(visits: cl.Frame) -> None:
    for steps in range(9, 30, 3):
        fine = visits.age.count(within=3 * steps).release.refine(within=steps)
        assert fine.release.high - fine <= steps, steps
        assert fine - fine.release.low <= steps, steps
