"""The receipt of a fit holds its transcript: a verifier makes the model again, and binds its numbers and no others."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from fractions import Fraction

import msgspec
import pytest
from signed_world import CARD, TABLE, Story, code_cell, result

from cloister.errors import TrustError
from cloister.plan import algebra as a
from cloister.plan import combine
from cloister.plan.learning import planned_fit
from cloister.plan.learning.natural import numbers, scores
from cloister.plan.precision import charge_of
from cloister.plan.rounding import short
from cloister.plan.typing import infer
from cloister.receipt import models
from cloister.receipt.models import model_numbers, model_of
from cloister.receipt.receipt import ComponentNoise, Receipt
from cloister.replay import classify
from cloister.reviewer.report import Report
from cloister.reviewer.verify import examine, verify

CARDS = {"clinic.visits": CARD}
SOURCE = "LogisticRegression().fit(v[['bmi', 'sex']], v.bmi > 30)"
NOW = datetime(2026, 6, 2, tzinfo=UTC)
SIGMA = 2.0**31


def plan(rho: str = "1") -> a.Fit:
    target = a.Compare("gt", a.Col("bmi"), a.Number("30"))
    return a.Fit(TABLE, (a.Col("bmi"), a.Col("sex")), target, a.Logistic(steps=4), rho)


class FitStory(Story):
    """The honest notebook, and a cell that fits a model; ``shown`` is printed of it."""

    def __init__(self) -> None:
        super().__init__()
        world = self.world
        world.ran(SOURCE)
        steps = planned_fit(plan(), infer(TABLE, CARDS)).steps
        noise = tuple(ComponentNoise(SIGMA.hex(), str(charge_of(step.reach.squared, SIGMA))) for step in steps)
        rho = str(sum(Fraction(part.rho) for part in noise))
        rng = random.Random(2)
        raw = tuple(rng.randint(-(2**34), 2**34) for step in steps for _ in range(step.reach.width))
        self.fitted: Receipt = world.released(SOURCE, plan(rho), noise, raw)

    def shown(self, text: str, **changes) -> dict:
        receipt = msgspec.structs.replace(self.fitted, **changes) if changes else self.fitted
        facts = self.world.facts(self.fitted)
        self.plain["cells"] = [*self.plain["cells"][:3], code_cell(SOURCE, result(text), self.world.chip(facts))]
        signed = [self.world.sign(each) for each in (self.count, self.means, receipt)]
        return self.notebook(receipts=signed)


def check(notebook: dict) -> Report:
    return verify(notebook, now=NOW)


@pytest.fixture(scope="module")
def story() -> FitStory:
    return FitStory()


@pytest.fixture(scope="module")
def weights(story: FitStory) -> list[float]:
    return list(model_numbers(story.fitted, CARDS))


def test_the_numbers_of_a_model_are_bound_to_its_transcript(story: FitStory, weights: list[float]) -> None:
    text = "\n".join(f"{value:.6f}" for value in weights)
    report = check(story.shown(text))
    assert [found.code for found in report.findings if found.level == "fail"] == []
    assert report.counts.numbers_unaccounted == 0
    edited = check(story.shown(text.replace(f"{weights[1]:.6f}", f"{weights[1] + 0.01:.6f}")))
    assert edited.counts.numbers_unaccounted >= 1


def test_weights_are_shown_in_the_units_of_the_features_too(story: FitStory, weights: list[float]) -> None:
    fitted, found = model_of(story.fitted, CARDS) or pytest.fail("no model")
    assert fitted.coded.width == 1 + 1 + 3  # constant, bmi, and female, male, (other)
    scaled = [value / found.scale for value in found.weights[0]]
    # bmi is 10..60: z = (bmi - 35) / 25.
    natural = scaled[1] / 25
    assert any(value == pytest.approx(natural) for value in weights)
    assert any(value == pytest.approx(scaled[0] - 35 * natural) for value in weights)


def test_a_transcript_that_does_not_fit_its_plan_fails(story: FitStory) -> None:
    report = check(story.shown("0", raw=story.fitted.raw[:-1]))
    assert "receipt.shape" in {found.code for found in report.findings if found.level == "fail"}
    with pytest.raises(TrustError):
        model_of(msgspec.structs.replace(story.fitted, noise=story.fitted.noise[1:]), CARDS)


def test_another_price_of_a_step_fails(story: FitStory) -> None:
    noise = (ComponentNoise((SIGMA * 1.0000001).hex(), story.fitted.noise[0].rho), *story.fitted.noise[1:])
    report = check(story.shown("0", noise=noise))
    assert "receipt.sigma" in {found.code for found in report.findings if found.level == "fail"}


def test_a_replay_knows_the_numbers_of_a_model_and_how_they_move(story: FitStory, weights: list[float]) -> None:
    examined = examine(story.shown("0"), now=NOW)
    known = classify.known(examined)
    (pairs,) = filter(None, known.models.values())
    assert {value for value, _ in pairs} <= set(weights)
    assert all(value != after for value, after in pairs)
    cell = examined.cells[-1]
    chosen = [pair for pair in pairs if abs(pair[0] - pair[1]) > 1e-3]
    count = len(chosen)
    assert count > 5
    text, moved = (tuple(result(f"{pair[run]:.6f}") for pair in chosen) for run in (0, 1))
    assert classify.classify(cell, text, moved, known)[:3] == (count, 0, ())
    # A number typed by hand stays what it is, whatever the model does.
    typed = classify.classify(cell, text, text, known)
    assert (typed.released, len(typed.constant)) == (0, count)
    # In a cell that did not release the model its numbers are derived ones, no released ones.
    assert classify.classify(cell._replace(outputs=()), text, moved, known)[:3] == (0, count, ())


def test_a_number_of_a_model_that_rounds_to_the_same_in_both_runs_is_released() -> None:
    assert classify._stays("0.00", [(0.001, -0.002)])
    assert not classify._stays("0.00", [(0.001, 0.2), (0.2, -0.002)])


def test_the_numbers_of_a_model_account_for_nothing_in_another_cell(story: FitStory, weights: list[float]) -> None:
    text = "\n".join(f"{value:.6f}" for value in weights)
    notebook = story.shown(text)
    assert check(notebook).counts.numbers_unaccounted == 0
    notebook["cells"].insert(3, code_cell("print(numbers)", result(text)))
    assert check(notebook).counts.numbers_unaccounted >= len(weights) // 2


def test_rounded_weights_are_accounted_for(story: FitStory, weights: list[float]) -> None:
    fitted, found = model_of(story.fitted, CARDS) or pytest.fail("no model")
    rounded = [float(value) for row in short(scores(found, fitted.coded), fitted.coded) for value in row]
    assert set(rounded) <= set(weights)
    assert not set(rounded) <= set(numbers(found, fitted.coded))
    report = check(story.shown("\n".join(map(repr, rounded))))
    assert report.counts.numbers_unaccounted == 0


def test_numbers_that_no_double_holds_are_refused_and_computed_once(story: FitStory, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(models, "numbers", lambda *given: made.append(given) or [1.0])
    models._numbers.cache_clear()
    assert model_numbers(story.fitted, CARDS) == model_numbers(story.fitted, CARDS)
    assert len(made) == 1

    def overflowing(*_given):
        raise OverflowError

    monkeypatch.setattr(models, "numbers", overflowing)
    models._numbers.cache_clear()
    with pytest.raises(TrustError):
        model_numbers(story.fitted, CARDS)
    monkeypatch.undo()
    models._numbers.cache_clear()


def test_two_fits_of_two_draws_are_no_refinement() -> None:
    plans = {str(draw): msgspec.structs.replace(plan(), draw=draw) for draw in (0, 1)}
    assert list(combine.chains(plans)) == []


def test_a_receipt_of_no_fit_has_no_model(story: FitStory) -> None:
    assert model_of(story.count, CARDS) is None
    assert list(model_numbers(story.means, CARDS)) == []
