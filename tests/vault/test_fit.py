"""Fits: their steps equal the reference, their prices add up, and a program can ask nothing it did not plan."""

from __future__ import annotations

import os
import random
from fractions import Fraction

import msgspec
import pytest
from fit_checks import check_reach, check_sums
from vault_world import World, context

from cloister.errors import CloisterError, FaultError, PlanError
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.learning import planned_fit
from cloister.plan.learning.program import Step, drive, model, planned
from cloister.plan.learning.queries import MAX_WEIGHT, Gradient, GradientForm, Gram
from cloister.plan.link import Request
from cloister.plan.typing import infer
from cloister.receipt import chain
from cloister.receipt.facts import facts, question, shaped
from cloister.vault import fit as fit_module
from cloister.vault import interpret_fit
from cloister.vault.analyse import analyse
from cloister.vault.config import open_config
from cloister.vault.engine import Engine
from cloister.vault.fit import fit
from cloister.vault.mock import MockVault
from cloister.vault.price import price
from cloister.vault.release import release
from cloister.wire import canonical

TRIALS = int(os.environ.get("CLOISTER_FUZZ_TRIALS", "2000"))
FEATURES = (a.Col("age"), a.Col("sex"), a.Compare("ge", a.Col("cost"), a.Number("10")))


def plan(**changes) -> a.Fit:
    """A logistic regression on the visits of the world."""
    target = a.Compare("ge", a.Col("age"), a.Number("60"))
    asked = a.Fit(a.Table("st_anna.visits"), FEATURES, target, a.Logistic(steps=5), "1/20")
    return msgspec.structs.replace(asked, **changes)


@pytest.fixture(scope="module")
def opened(quiet_world: World):
    """A vault with its tables loaded, and the analysis of the fit."""
    state, _ = quiet_world.state()
    answer = release(state, context(quiet_world), codec.encode(plan()))
    return state, answer, analyse(plan(), state.terms.cards)


def test_every_sum_equals_the_reference_and_moves_no_more_than_it_claims() -> None:
    check_sums(0, max(2, TRIALS // 500))


def test_no_row_reaches_further_than_its_form_says() -> None:
    check_reach()


def quiet(found, sigmas) -> object:
    """A price whose noise is zero (sigma .01 is never anything else), or as given."""
    parts = tuple(
        msgspec.structs.replace(part, sigma=sigma) for part, sigma in zip(found.components, sigmas, strict=True)
    )
    return msgspec.structs.replace(found, components=parts)


def test_without_noise_the_transcript_is_that_of_the_reference(opened) -> None:
    state, _, analysis = opened
    found = price(analysis, Fraction(1, 20))
    sigmas = [0.01] * len(found.components)
    transcript = fit(state.engine, analysis, plan(), quiet(found, sigmas)).raw
    known = planned_fit(plan(), analysis.typed.schema)
    tables = {"st_anna.visits": stored(state)}
    rows = interpret_fit.coded_rows(plan(), state.terms.cards, tables)
    slow: list[int] = []

    def answer(index, query):
        slow.extend(exact := interpret_fit.total(query, rows, known.coded, known.steps[index].reach.width))
        return exact

    drive(known.program, known.steps, sigmas, answer)
    assert transcript == slow


def stored(state) -> list:
    """The visits as the interpreter takes them (the world's data are within their bounds)."""
    from vault_world import visits

    from cloister.vault.interpret_relations import Row

    found = []
    for index, row in enumerate(visits().to_pylist()):
        values = {"age": Fraction(row["age"]), "sex": row["sex"], "cost": Fraction(row["cost"])}
        found.append(Row(row["patient"], (index,), values, {}))
    return found


def test_every_step_has_noise_of_its_own_level(opened) -> None:
    state, _, analysis = opened
    found = price(analysis, Fraction(1, 20))
    exact = fit(state.engine, analysis, plan(), quiet(found, [0.01] * 7)).raw
    gram, gradient = analysis.layout.components[0].width, analysis.layout.components[1].width
    noisy = fit(state.engine, analysis, plan(), quiet(found, [1e6, *[0.01] * 6])).raw
    assert all(x != y for x, y in zip(exact[:gram], noisy[:gram], strict=True))
    noisy = fit(state.engine, analysis, plan(), quiet(found, [0.01, 1e6, *[0.01] * 5])).raw
    assert noisy[:gram] == exact[:gram]
    moved = [abs(x - y) for x, y in zip(exact[gram:], noisy[gram : gram + gradient], strict=False)]
    assert min(moved) > 1e3 and max(moved) < 1e7


def test_the_price_of_every_step_pays_for_its_noise_and_all_add_up(opened) -> None:
    _, _, analysis = opened
    found = price(analysis, Fraction(1, 20))
    known = planned_fit(plan(), analysis.typed.schema)
    for part, step, claim in zip(found.components, known.steps, analysis.bounds, strict=True):
        # Two visits per patient: twice as far as one row, and rho = L2^2 / (2 sigma^2), within the step's share.
        assert claim.l2_squared == 4 * step.reach.squared
        assert part.rho >= Fraction(claim.l2_squared) / (2 * Fraction(part.sigma) ** 2)
        assert part.rho <= step.share * Fraction(1, 20)
    assert sum(part.rho for part in found.components) == found.rho <= Fraction(1, 20)
    assert (found.usage.models, analysis.operations) == (1, frozenset({"model"}))


def test_a_settled_fit_is_recalled_and_its_receipt_makes_the_model_again(opened, quiet_world: World) -> None:
    state, answer, analysis = opened
    again = release(state, context(quiet_world), codec.encode(plan()))
    assert again.recalled and again.receipt == answer.receipt
    receipt, contract = answer.receipt, state.terms.contract
    chain.check_names(receipt, contract)
    chain.check_charges(receipt, [quiet_world.card], contract)
    shaped(receipt, state.terms.cards)
    known = planned_fit(plan(), analysis.typed.schema)
    noise = [float.fromhex(part.sigma) for part in receipt.noise]
    transcript = [int(text) for text in receipt.raw]
    assert model(known.program, known.steps, noise, transcript) == model(known.program, known.steps, noise, transcript)
    told = facts(receipt, contract, state.terms.cards, session="session-1")
    assert told.question == "st_anna.visits: logistic regression of a condition on 3 features"
    with pytest.raises(CloisterError):
        shaped(msgspec.structs.replace(receipt, raw=receipt.raw[1:]), state.terms.cards)


class Straying:
    """A program that plans one query and asks another."""

    def __init__(self, asked, *, steps: int = 1) -> None:
        self.asked, self.count = asked, steps

    @property
    def steps(self):
        from cloister.plan.learning.program import Step

        return tuple(Step("gram", Gram().form, Fraction(1, self.count)) for _ in range(self.count))

    def run(self, noise):
        yield self.asked


def test_a_program_that_strays_from_its_plan_is_stopped_before_it_touches_a_row(opened) -> None:
    coded = planned_fit(plan(), opened[2].typed.schema).coded
    other = Gradient(GradientForm(1, 0, coded.width), ((0,) * coded.width,))
    for straying in (Straying(other), Straying(Gram(), steps=2)):
        asked: list[object] = []
        with pytest.raises(ValueError, match="program"):
            drive(
                straying, planned(straying.steps, coded), [1.0], lambda index, query, asked=asked: asked.append(query)
            )
        assert asked in ([], [Gram()])


def test_integers_beyond_the_limits_of_a_step_are_stopped_before_they_touch_a_row(opened, monkeypatch) -> None:
    """Scores of larger weights would not be exact; the form, which is what was priced, is the planned one."""
    state, _, analysis = opened
    found = planned_fit(plan(), analysis.typed.schema)
    form = GradientForm(1, 0, found.coded.width)
    wild = Straying(Gradient(form, ((MAX_WEIGHT + 1,) * found.coded.width,)), steps=1)
    steps = planned((Step("gradient", form, Fraction(1)),), found.coded)
    made = msgspec.structs.replace(found, program=wild, steps=steps)
    layout = msgspec.structs.replace(analysis.layout, fitted=made)
    monkeypatch.setattr(fit_module, "sums", lambda *_: pytest.fail("a row was touched"))
    with pytest.raises(ValueError, match="limits"):
        fit(state.engine, msgspec.structs.replace(analysis, layout=layout), plan(), price(analysis, Fraction(1, 20)))


def test_the_mock_vault_rehearses_a_fit_on_the_same_path(quiet_world: World) -> None:
    terms = open_config(canonical.encode(quiet_world.config(mode="mock", capsules={})))
    mock = MockVault(terms, Engine(1)).operations()
    request = Request(1, "release", codec.encode(plan()))
    answered = mock["release"](context(quiet_world), request)
    priced = mock["price"](context(quiet_world), Request(2, "price", codec.encode(plan()))).result
    known = planned_fit(plan(), infer(plan().source, terms.cards))
    assert len(answered.result["raw"]) == sum(step.reach.width for step in known.steps)
    assert answered.result["receipt"] is None
    assert [part["sigma"] for part in answered.result["noise"]] == [part["sigma"] for part in priced["components"]]
    assert [part["measure"] for part in priced["components"]] == [step.name for step in known.steps]
    assert priced["usage"]["models"] == 1


def test_a_contract_without_models_allows_no_fit(quiet_world: World) -> None:
    state, _ = quiet_world.state(quiet_world.sign(quiet_world.contract(operations=("aggregate",))))
    with pytest.raises(CloisterError) as refused:
        release(state, context(quiet_world), codec.encode(plan()))
    assert refused.value.code == "contract.operation"


def test_an_interrupted_fit_stops_between_chunks(opened, quiet_world: World, monkeypatch) -> None:
    state, _, analysis = opened
    from cloister.vault import fit as module

    def interrupting(rows, query, coded, check):
        state.engine.interrupt()
        return original(rows, query, coded, check)

    original = module.sums
    monkeypatch.setattr(module, "sums", interrupting)
    with pytest.raises(FaultError):
        fit(state.engine, analysis, plan(), price(analysis, Fraction(1, 20)))
    monkeypatch.undo()
    assert fit(state.engine, analysis, plan(), price(analysis, Fraction(1, 20))).raw


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"features": ()}, "plan.features"),
        ({"features": (a.Col("patient"),)}, "plan.bounds"),
        ({"features": (a.Col("genome"),)}, "contract.tier"),
        ({"target": a.Col("genome")}, "contract.tier"),
        ({"target": a.Col("age")}, "plan.types"),
        ({"target": None}, "plan.learner"),
        ({"learner": a.Logistic(steps=0)}, "plan.learner"),
        ({"learner": a.Logistic(steps=2**50)}, "plan.learner"),
        ({"learner": a.Logistic(gram="1")}, "plan.learner"),
        ({"learner": a.Logistic(penalty="-1")}, "plan.learner"),
        ({"features": tuple(a.Scale(a.Col("age"), str(n)) for n in range(1, 258))}, "plan.features"),
        ({"features": tuple(a.Col("sex") for _ in range(250)), "learner": a.Logistic(steps=500)}, "plan.learner"),
        ({"rho": "1/1000000000000000000000000000000"}, "plan.rho"),
    ],
)
def test_a_fit_that_cannot_be_is_refused_before_anything_is_charged(opened, quiet_world: World, changes, code) -> None:
    state = opened[0]
    with pytest.raises(CloisterError) as refused:
        release(state, context(quiet_world), codec.encode(plan(**changes)))
    assert refused.value.code == code
    assert refused.value.next_step


def test_a_fit_too_large_for_the_declared_table_is_refused(quiet_world: World) -> None:
    cards = {"st_anna.visits": msgspec.structs.replace(quiet_world.card, row_limit=2**30)}
    with pytest.raises(PlanError) as refused:
        analyse(plan(), cards)
    assert refused.value.code == "plan.cost"
    many = msgspec.structs.replace(quiet_world.card, row_limit=50_000_000)
    slow = plan(learner=a.Logistic(steps=500))
    with pytest.raises(PlanError) as refused:
        price(analyse(slow, {"st_anna.visits": many}), Fraction(1, 20))
    assert refused.value.code == "plan.cost"


def test_a_program_makes_a_model_of_any_transcript(opened) -> None:
    """Total: noise alone, huge integers, zeros."""
    known = planned_fit(plan(), opened[2].typed.schema)
    rng = random.Random(3)
    widths = sum(step.reach.width for step in known.steps)
    for most in (0, 1, 2**20, 2**45, 2**62):
        found = model(known.program, known.steps, [1.0] * 7, [rng.randint(-most, most) for _ in range(widths)])
        assert len(found.weights[0]) == known.coded.width


def test_a_question_of_a_fit_in_words() -> None:
    assert question(plan(target=a.Col("sex"))) == "st_anna.visits: logistic regression of sex on 3 features"
