"""The lesson does what it says: the attack works without the defence, not with it; and it opens on nothing real."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest

import cloister as cl
from cloister.demo import cards, classroom, classroom_vault, generators
from cloister.errors import BudgetError, CloisterError, ContractError, MalformedError, PlanError
from cloister.plan import algebra, codec
from cloister.plan.gaussian import pmf
from cloister.sandbox import session as sessions
from cloister.vault.config import open_config
from cloister.vault.sampler import SEEDED_LABEL

BANK = "city_bank.customers"


@pytest.fixture(autouse=True)
def nothing_left_open():
    yield
    sessions.use(None)


def differencing(person: classroom.Target) -> bool:
    """The attack of the notebook: two questions about very many people that differ by one."""
    bank = cl.table(BANK)
    everybody = (bank.balance < 0).sum(share=0.5)
    all_but_one = (bank.query(f"not ({person.facts})").balance < 0).sum(share=0.5)
    return everybody - all_but_one >= 1


def direct(person: classroom.Target) -> bool:
    return (cl.table(BANK).query(person.facts).balance < 0).sum() >= 1


def balance(person: classroom.Target) -> float:
    bank = cl.table(BANK)
    return bank.balance.sum() - bank.query(f"not ({person.facts})").balance.sum()


# The lesson


def test_without_a_defence_both_attacks_are_right_about_everybody():
    assert classroom.play(direct, defence="off").rate == 1
    assert classroom.play(differencing, defence="off").rate >= 0.95


def test_a_threshold_stops_the_direct_question_and_not_the_difference():
    assert classroom.play(direct, defence="threshold").rate == 0
    assert classroom.play(differencing, defence="threshold").rate >= 0.95


def test_with_the_defence_on_the_attack_is_near_chance_and_as_often_right_as_the_mathematics_says():
    assert 0.25 <= classroom.play(differencing, defence="on", epsilon=1).rate <= 0.75
    runs = 400
    for epsilon, low, high in ((0.5, 0.5, 0.53), (8, 0.62, 0.67)):
        rate = classroom.play(differencing, defence="on", epsilon=epsilon, runs=runs).rate
        slack = 3 * 0.5 / runs**0.5
        assert low - slack < rate < high + slack, epsilon
        assert rate < classroom.ceiling(epsilon) + slack


def test_the_noise_is_that_of_the_price_and_the_answers_are_the_true_ones_without_it():
    truth = int((classroom.rows().balance < 0).sum())
    classroom.open(defence="off")
    assert (cl.table(BANK).balance < 0).sum() == truth
    sigma = []
    errors = []
    for seed in range(300):
        classroom.open(defence="on", seed=seed, epsilon=1)
        found = (cl.table(BANK).balance < 0).sum(share=1)
        errors.append(found - truth)
        sigma.append(found.release.stderr)
    assert np.std(errors) == pytest.approx(sigma[0], rel=0.15)
    assert abs(np.mean(errors)) < 4 * sigma[0] / 300**0.5


def test_the_ceiling_holds_for_the_best_single_question_and_rises_to_certainty():
    epsilons = (0.01, 0.1, 0.5, 1, 2, 4, 8, 16, 64)
    ceilings = [classroom.ceiling(epsilon) for epsilon in epsilons]
    assert ceilings == sorted(ceilings)
    assert ceilings[0] == pytest.approx(0.5, abs=0.001)
    assert ceilings[-1] == pytest.approx(1, abs=1e-6)
    for epsilon, ceiling in zip(epsilons, ceilings, strict=True):
        classroom.open(epsilon=epsilon)
        sigma = cl.table(BANK).balance.count(share=1).release.stderr
        if sigma > 0.5:
            # The total variation of discrete Gaussians one apart is the probability of zero.
            assert (1 + pmf(sigma, 0)) / 2 <= ceiling, epsilon


def test_the_same_seed_gives_the_same_answers_in_any_order():
    def asked(order: tuple[str, ...]) -> dict[str, float]:
        classroom.open(seed=7)
        return {name: float(cl.table(BANK)[name].mean()) for name in order}

    names = ("age", "income", "balance")
    assert asked(names) == asked(tuple(reversed(names)))
    classroom.open(seed=8)
    assert float(cl.table(BANK).age.mean()) != asked(names)["age"]


def test_asking_again_is_recalled_and_asking_differently_ends_with_the_budget():
    classroom.open(epsilon=1)
    first = cl.table(BANK).age.mean(share=0.4)
    again = cl.table(BANK).age.mean(share=0.4)
    assert (again, again.release.recalled) == (first, True)
    cl.table(BANK)[cl.table(BANK).age >= 0].age.mean(share=0.4)
    with pytest.raises(BudgetError) as refused:
        cl.table(BANK).income.mean(share=0.4)
    assert refused.value.code == "budget.exhausted"
    assert "20.0 % of its budget left" in repr(cl.budget())


# Labels


@pytest.mark.parametrize("defence", ["off", "threshold", "on"])
def test_every_output_says_that_nobody_is_protected(defence):
    lesson = classroom.open(defence=defence)
    label = {"off": "defence off: no privacy", "threshold": "threshold only: no privacy", "on": SEEDED_LABEL}[defence]
    bank = cl.table(BANK)
    mean, groups = (
        bank.age.mean(),
        bank.groupby("region", observed=False).age.mean() if defence != "threshold" else None,
    )
    assert (mean.release.mode, mean.release.assurance, mean.release.receipt) == ("teaching", label, None)
    shown = [lesson, mean.release, cl.budget(), cl.contract(), classroom.Score(1, 2, label)]
    shown += [groups.release] if groups is not None else []
    for thing in shown:
        assert label in repr(thing), type(thing)
    for thing in (mean.release, cl.budget(), cl.contract(), cl.tables(), bank):
        assert f"teaching: {label}" in thing._repr_html_(), type(thing)
    assert "enclave: " not in repr(mean.release)
    assert "no privacy" in repr(bank.age.mean.cost())
    for thing in (bank, cl.tables()):
        assert "lesson: invented rows" in repr(thing)
    if groups is not None:
        assert label in groups.release.plot.bar().get_title()


def test_a_cell_that_released_something_ends_with_the_label():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    try:
        with capture_output() as shown:
            shell.run_cell(
                "from cloister.demo import classroom; import cloister as cl; classroom.open(defence='off'); "
                f"x = float(cl.table('{BANK}').age.mean()); y = cl.table('{BANK}').income.mean(); print(x)"
            )
            shell.run_cell("1 + 1")
        texts = [output.data["text/plain"] for output in shown.outputs if "text/html" in output.data]
    finally:
        InteractiveShell.clear_instance()
    assert texts == [
        "Cloister lesson: defence off: no privacy; invented customers, no enclave, no receipt",
    ]


# What a lesson cannot reach


@pytest.mark.parametrize(
    "table",
    [
        "survey.fair",
        "st_anna.diabetes",
        "clinic.visits",
        "/srv/capsule",
        "",
        None,
        cards.CUSTOMERS,
        generators.diabetes(),
    ],
    ids=lambda table: type(table).__name__ if not isinstance(table, str) else table or "empty",
)
def test_a_lesson_opens_on_invented_tables_only(table):
    with pytest.raises(CloisterError) as refused:
        classroom.open(table)
    assert refused.value.code == "classroom.table"


def test_a_card_of_another_grade_is_refused_by_the_lesson_and_by_the_plan_path(monkeypatch):
    real = msgspec.structs.replace(cards.CUSTOMERS, grade="production")
    monkeypatch.setitem(classroom_vault.TOPICS, BANK, classroom_vault.Topic(generators.customers, real))
    with pytest.raises(CloisterError) as refused:
        classroom.open(BANK, defence="off")
    assert refused.value.code == "classroom.table"
    monkeypatch.setattr(classroom_vault, "topic", lambda name: classroom_vault.TOPICS[name])
    classroom.open(BANK, defence="off")
    with pytest.raises(ContractError) as refused:
        cl.table(BANK).age.mean()
    assert refused.value.code == "contract.simulated"


def test_a_lesson_does_not_open_in_a_cloister_kernel(monkeypatch):
    lesson = classroom.open(defence="off")
    monkeypatch.setenv("CLOISTER_LINK_FD", "3")
    for attempt in (classroom.open, lesson.use, lambda: classroom.play(direct, defence="off")):
        with pytest.raises(CloisterError) as refused:
            attempt()
        assert refused.value.code == "classroom.kernel"


@pytest.mark.parametrize("mode", ["confidential", "mock", "replay"])
def test_a_lesson_does_not_take_the_place_of_a_session_with_a_vault(mode):
    class Peer:
        def request(self, op, plan=None):
            vault = classroom_vault.TeachingVault(BANK, "on", 1, "8")
            return {**vault.request(op, plan), "mode": mode, "assurance": "tdx"}

    sessions.use(sessions.Session(Peer()))
    with pytest.raises(CloisterError) as refused:
        classroom.open(defence="off")
    assert refused.value.code == "classroom.kernel"
    assert sessions.current().about.mode == mode


def test_a_vault_knows_no_teaching_mode_and_never_loads_the_lesson_or_its_sampler():
    with pytest.raises(MalformedError) as refused:
        open_config(
            b'{"contract":{"payloadType":"","payload":"","signatures":[]},"cards":[],"capsules":{},"env_digest":"",'
            b'"mode":"teaching","assurance":"simulated"}'
        )
    assert refused.value.code == "vault.config"
    # Everything a vault process imports, engines included.
    loaded = (
        "import sys, cloister.vault.boot, cloister.vault.confidential, cloister.vault.mock, cloister.vault.release;"
        "sys.exit(any(name.startswith('cloister.demo') or name == 'cloister.vault.sampler' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0


def test_an_unknown_defence_is_not_taken_for_off():
    with pytest.raises(CloisterError) as refused:
        classroom.open(defence="none")
    assert refused.value.code == "classroom.defence"


# People to attack


def test_targets_are_unique_by_their_facts_half_overdrawn_and_the_same_for_a_seed():
    people = classroom.targets(200)
    assert people == classroom.targets(200)
    assert people != classroom.targets(200, seed=1)
    assert sum(classroom.truth(person) < 0 for person in people) == 100
    rows = classroom.rows()
    assert all(len(rows.query(person.facts)) == 1 for person in people[:20])
    assert SEEDED_LABEL not in repr(people[0])
    assert "balance" not in repr(people[0])
    for count in (0, 10**6):
        with pytest.raises(CloisterError):
            classroom.targets(count)


def test_after_a_game_the_lesson_that_was_open_is_open():
    classroom.open(defence="off")
    classroom.play(direct, defence="on", runs=2)
    assert cl.table(BANK).age.mean().release.assurance == "defence off: no privacy"


def test_an_answer_that_is_not_yes_or_no_is_refused():
    with pytest.raises(CloisterError) as refused:
        classroom.play(lambda person: 1, defence="off")
    assert refused.value.code == "classroom.answer"


def test_a_threshold_answers_about_ten_and_not_about_nine():
    sizes = classroom.rows().groupby("income").size()
    nine, ten = int(sizes[sizes == 9].index[0]), int(sizes[sizes == 10].index[0])
    classroom.open(defence="threshold")
    bank = cl.table(BANK)
    assert bank[bank.income == ten].age.count() == 10
    with pytest.raises(PlanError) as refused:
        bank[bank.income == nine].age.count()
    assert refused.value.code == "classroom.threshold"


# Exercises


def test_the_solution_passes_and_tells_what_the_defence_does_to_it():
    found = classroom.check("balance", balance)
    assert found.passed
    assert repr(found).startswith("PASSED: right about 20 of 20 people   [defence off: no privacy]")
    assert SEEDED_LABEL in repr(found)


@pytest.mark.parametrize(
    ("attack", "advice"),
    [
        (3, "hand over the function itself"),
        (lambda person: None, "returned nothing"),
        (lambda person: True, "returned a bool"),
        (lambda person: [1], "returned a list"),
        (lambda person: 1 / 0, "stopped with ZeroDivisionError"),
        (lambda person: 5, "You answered 5 about everybody"),
        (lambda person: -balance(person), "Right but for the sign"),
        (lambda person: cl.table(BANK).query(person.facts).balance.sum(), "single person is refused"),
        (lambda person: cl.table(BANK).balance.max(), "was refused: [api.max]"),
        (lambda person: cl.table(BANK).query(f"not ({person.facts})").balance.sum(), "subtract two of them"),
        (lambda person: person.income / 4, "Which two sums"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_answer_gets_advice_and_no_traceback(attack, advice):
    found = classroom.check("balance", attack)
    assert not found.passed
    assert repr(found).startswith("NOT YET: ")
    assert advice in repr(found)


def test_a_budget_is_marked_by_the_proven_ceiling_with_a_margin():
    passed = [epsilon for epsilon in np.arange(0.05, 3, 0.05) if classroom.check("epsilon", float(epsilon)).passed]
    assert 1 < min(passed) < 1.4 < max(passed) < 2
    assert "larger" in repr(classroom.check("epsilon", 0.1))
    assert "smaller" in repr(classroom.check("epsilon", 8))
    for strange in ("1", None, 0, -1, float("nan"), float("inf"), True):
        assert not classroom.check("epsilon", strange).passed
    with pytest.raises(CloisterError):
        classroom.check("homework", 1)


def test_visits_can_be_taught_too():
    classroom.open("st_anna.visits", defence="off")
    visits = generators.visits()
    assert cl.table("st_anna.visits").cost.mean() == pytest.approx(visits.cost.mean())


@pytest.mark.parametrize("defence", ["off", "threshold", "on"])
def test_what_is_chosen_and_not_added_up_is_no_lesson(defence):
    vault = classroom_vault.TeachingVault(BANK, defence, 1, "1")
    source = algebra.Table(BANK)
    for plan in (
        algebra.VectorSum(source, (algebra.Quantile("q", algebra.Col("balance"), ("1/2",)),), "1/1000"),
        algebra.ThresholdKeys(source, ("segment",), 1, "1/1000", "1/10000000"),
    ):
        with pytest.raises(PlanError) as refused:
            vault.request("release", codec.encode(plan))
        assert refused.value.code == "classroom.measure"
