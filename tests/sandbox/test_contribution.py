"""Contributions: Shapley values of linear models from one release, their errors, and how revenue is divided."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import matplotlib.axes
import numpy as np
import pyarrow as pa
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.contract.card import Card, Column
from cloister.errors import CloisterError, PlanError
from cloister.learn import contribution
from cloister.sandbox import session as sessions
from cloister.sandbox.learn.coalitions import MOST_EXACT, Game, divide, scheme

ROWS = 3_000


def grams(players: int, *, rows: int = 2_000, columns: int = 4, junk: tuple[int, ...] = ()) -> np.ndarray:
    """Return exact Grams of one linear law; the target of ``junk`` players has nothing to do with their features."""
    rng = np.random.default_rng(5)
    slopes, found = rng.uniform(0.2, 0.5, columns), []
    for player in range(players):
        x = rng.uniform(-1, 1, (rows, columns))
        y = np.clip(x @ slopes * 0.5 + rng.normal(0, 0.1, rows), -1, 1)
        z = np.column_stack([np.ones(rows), x, rng.permutation(y) if player in junk else y])
        found.append(z.T @ z)
    return np.array(found)


# Arithmetic ----------------------------------------------------------------------------------------------------


def by_definition(game: Game) -> list[float]:
    """Return Shapley values as the mean over all orders."""
    values = np.zeros(game.players)
    for order in itertools.permutations(range(game.players)):
        held, before = np.zeros(game.players, bool), 0.0
        for player in order:
            held[player] = True
            after = float(game.worth(held[None])[0])
            values[player] += after - before
            before = after
    return list(values / math.factorial(game.players))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("columns", [(), ((1, 2), (3,), (4,))])
def test_shapley_values_are_the_mean_over_all_orders_and_add_up(columns: tuple, log: bool) -> None:
    exact = grams(3, junk=(1,))
    game = Game(exact.sum(axis=0)[None] if columns else exact, 2.0, columns, log=log)
    found = divide(game, [1])
    assert found.values == pytest.approx(by_definition(game))
    assert found.values.sum() == pytest.approx(found.total) == pytest.approx(game.worth(np.ones((1, 3), bool))[0])


def test_what_a_coalition_is_worth_is_the_r2_of_its_ordinary_regression() -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (4_000, 4))
    y = np.clip(0.5 * x[:, 0] + 0.3 * x[:, 2] + rng.normal(0, 0.1, 4_000), -1, 1)
    z = np.column_stack([np.ones(4_000), x, y])
    game = Game((z.T @ z)[None], 1e-6, ((1, 2), (3, 4)))
    for members, columns in (([True, False], [0, 1]), ([False, True], [2, 3]), ([True, True], [0, 1, 2, 3])):
        a = np.column_stack([np.ones(4_000), x[:, columns]])
        beta, *_ = np.linalg.lstsq(a, y, rcond=None)
        want = 1 - ((y - a @ beta) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert game.worth(np.array([members]))[0] == pytest.approx(want, abs=1e-6)
    assert game.worth(np.zeros((1, 2), bool))[0] == 0


def test_who_has_nothing_to_say_gets_less_than_who_has() -> None:
    """Not nothing: the rows of all are predicted, his own among them, and with them a model knows how odd they are."""
    found = divide(Game(grams(4, junk=(2,)), 5.0), [1])
    assert found.values[2] < 0.5 * min(np.delete(found.values, 2))
    assert found.high[2] < min(np.delete(found.low, 2))


def test_equal_players_get_equal_values_whatever_their_order() -> None:
    exact = grams(3)
    there, back = divide(Game(exact, 3.0), [1]), divide(Game(exact[::-1], 3.0), [1])
    assert there.values == pytest.approx(back.values[::-1])
    same = divide(Game(np.array([exact[0]] * 3), 3.0), [1]).values
    assert same == pytest.approx([same[0]] * 3)


def test_many_players_are_sampled_with_errors_and_add_up() -> None:
    few, many = scheme(MOST_EXACT, np.random.default_rng(1)), scheme(MOST_EXACT + 1, np.random.default_rng(1))
    assert few.exact
    assert len(few.members) == 2**MOST_EXACT
    assert not many.exact
    sizes = np.random.default_rng(2).uniform(0, 1, MOST_EXACT + 1)
    worth = np.sqrt(many.members @ sizes)
    assert (many.weights @ worth).sum() == pytest.approx(math.sqrt(sizes.sum()))
    assert (many.errors(worth) > 0).all()
    additive = many.members @ sizes
    assert many.weights @ additive == pytest.approx(sizes)
    assert many.errors(additive) == pytest.approx(np.zeros(MOST_EXACT + 1))
    assert few.errors(np.zeros(len(few.members))) == pytest.approx(np.zeros(MOST_EXACT))


def covered(game: Game, seeds: range) -> float:
    """Return how often the interval of a value of noisy Grams holds the value without noise (least of all values)."""
    truth = divide(Game(game.matrices, 1e-9, game.columns), [0]).values
    found = [divide(game.noisy(np.random.default_rng(seed)), [seed]) for seed in seeds]
    inside = [(one.low[:-1] <= truth) & (truth <= one.high[:-1]) for one in found]
    return float(np.mean(inside, axis=0).min())


def test_intervals_hold_the_values_without_noise() -> None:
    assert covered(Game(grams(3, columns=2), 3.0), range(12)) >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize("columns", [(), ((1, 2), (3,), (4,))])
def test_intervals_hold_the_values_without_noise_as_often_as_they_say(columns: tuple) -> None:
    exact = grams(3)
    game = Game(exact.sum(axis=0)[None] if columns else exact, 3.0, columns)
    assert covered(game, range(200)) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 200)


# On handles ----------------------------------------------------------------------------------------------------


def hospital(number: int) -> Card:
    return Card(
        name=f"h{number}.stays",
        title="Stays",
        description="Invented.",
        unit="patient",
        key=("patient",),
        normaliser="exact",
        population=f"h{number}.patients",
        rows_per_unit=1,
        row_limit=4_096,
        grade="demonstration",
        columns=(
            Column("patient", "string", 2, "Patient", personal=True),
            Column("age", "int", 2, "Age", low="0", high="100", step="1"),
            Column("ward", "string", 2, "Ward", domain=("a", "b", "c")),
            Column("cost", "int", 2, "Cost", low="0", high="1000", step="1"),
            Column("odd", "bool", 2, "Odd"),
            Column("gap", "int", 2, "Sometimes missing", low="0", high="10", step="1", nullable=True),
        ),
        source="mock",
        retention="none",
        purposes=("teaching",),
    )


def stays(number: int) -> pa.Table:
    rng = np.random.default_rng(number)
    age, ward = rng.integers(0, 101, ROWS), rng.integers(0, 3, ROWS)
    cost = np.clip(5 * age + 150 * ward + rng.normal(0, 40, ROWS), 0, 1000).astype(int)
    if number == 2:
        cost = rng.permutation(cost)
    return pa.table(
        {
            "patient": [f"p{person}" for person in range(ROWS)],
            "age": age,
            "ward": ["abc"[place] for place in ward],
            "cost": cost,
            "odd": age % 2 == 1,
            "gap": [None if person % 2 else 3 for person in range(ROWS)],
        }
    )


@pytest.fixture(scope="module")
def vault() -> Iterator[world.Vault]:
    patch = pytest.MonkeyPatch()
    patch.setattr(world, "CARDS", {card.name: card for card in map(hospital, range(3))})
    patch.setattr(world, "table", lambda card: stays(int(card.name[1])))
    session, made = world.session(noise=True, mode="confidential", epsilon="8")
    sessions.use(session)
    yield made
    sessions.use(None)
    patch.undo()


@pytest.fixture
def hospitals(vault: world.Vault) -> list[cl.Frame]:
    return [cl.table(f"h{number}.stays") for number in range(3)]


def test_providers_with_rows_of_their_own_pay_once_each_and_shares_add_up(
    hospitals: list[cl.Frame], vault: world.Vault
) -> None:
    asked = {"target": "cost", "features": ["age", "ward"]}
    before, releases = contribution.cost(hospitals, **asked, epsilon=2), len(vault.releases())
    found = contribution(hospitals, **asked, epsilon=2)
    assert len(vault.releases()) == releases + 1
    assert found.fact.rho == before.rho
    assert [paid.population for paid in found.fact.accounts] == [f"h{number}.patients" for number in range(3)]
    assert {paid.rho for paid in found.fact.accounts} == {found.fact.rho}
    assert found.divisible
    assert found.exact
    assert found.table.share.sum() == pytest.approx(1)
    assert found.values.sum() == pytest.approx(found.total)
    assert found.values["h2"] < 0.5 * found.values["h0"]
    assert ((found.table.low <= found.table.value) & (found.table.value <= found.table.high)).all()
    assert contribution(hospitals, **asked, epsilon=2, value="log_loss").fact.recalled
    again = contribution(hospitals, **asked, epsilon=2)
    assert (again.table.drop(columns="sampling") == found.table.drop(columns="sampling")).all(axis=None)


def test_blocks_of_one_table(hospitals: list[cl.Frame]) -> None:
    blocks = {"bank": ["age"], "platform": ["ward"], "shop": "odd"}
    found = contribution(hospitals[0], target="cost", blocks=blocks, epsilon=2)
    assert list(found.values.index) == ["bank", "platform", "shop"]
    assert found.table.share.sum() == pytest.approx(1)
    assert found.values["shop"] < 0.1 < min(found.values["bank"], found.values["platform"])
    assert found.values["bank"] > found.values["platform"]


def test_it_is_shown_as_text_page_and_plot(hospitals: list[cl.Frame]) -> None:
    found = contribution(hospitals, target="cost", features=["age", "ward"], epsilon=2)
    assert "every coalition valued" in repr(found)
    assert "95 %, privacy noise" in repr(found)
    assert "<table>" in found._repr_html_()
    assert isinstance(found.plot.barh(), matplotlib.axes.Axes)
    assert "bootstrap" in found.values.release.derived


@pytest.mark.parametrize("amount", [10_000, 0.05, 99.99, 0])
def test_revenue_is_divided_to_the_last_cent(amount: float, hospitals: list[cl.Frame]) -> None:
    found = contribution(hospitals, target="cost", features=["age", "ward"], epsilon=2)
    parts = found.split(amount)
    assert round(parts.sum(), 2) == amount
    assert (parts >= 0).all()
    assert (
        sorted(parts.index, key=lambda name: -parts[name]) == sorted(parts.index, key=lambda name: -found.values[name])
        or amount < 1
    )


def test_where_nothing_is_explained_nothing_is_divided_and_it_says_so(hospitals: list[cl.Frame]) -> None:
    with pytest.warns(UserWarning, match="R2 of all together"):
        found = contribution(hospitals, target="odd", features=["ward"], epsilon=0.1)
    assert not found.divisible
    assert "NOTHING CAN BE DIVIDED" in repr(found)
    assert found.table.share.isna().all()
    with pytest.raises(PlanError) as refused:
        found.split(100)
    assert refused.value.code == "learn.indivisible"


def test_rows_that_lack_a_value_are_left_out_and_wrong_amounts_refused(hospitals: list[cl.Frame]) -> None:
    found = contribution(hospitals, target="cost", features=["age", "gap"], missing="drop", epsilon=2)
    assert found.divisible
    with pytest.raises(PlanError):
        found.split(float("nan"))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("contribution(hs[0], target='cost')", "api.contribution"),
        ("contribution(hs[:1], target='cost')", "api.contribution"),
        ("contribution([1, 2], target='cost')", "api.contribution"),
        ("contribution(hs, target='cost', names=['a', 'a', 'b'])", "api.contribution"),
        ("contribution(hs, target='cost', value='auc')", "api.contribution"),
        ("contribution(hs, target='ward', features=['age'])", "api.learn.target"),
        ("contribution(hs, target='cost', features=['age', 'gap'])", "api.learn.missing"),
        ("contribution(hs, target='gap', features=['age'])", "api.learn.missing"),
        ("contribution(hs[0], target='cost', blocks={'a': ['age'], 'b': ['gap']})", "api.learn.missing"),
        ("contribution(hs, target='cost', features=['age'], missing='indicator')", "api.contribution"),
        ("contribution(hs, target='nothing', features=['age'])", "plan.column"),
        ("contribution(hs[0], target='cost', blocks={'a': ['age'], 'b': ['age']})", "api.contribution"),
        ("contribution(hs[0], target='cost', blocks={'a': ['age'], 'b': ['cost']})", "api.contribution"),
        ("contribution(hs[0], target='cost', blocks={'a': ['age'], 'b': []})", "api.contribution"),
        ("contribution(hs[0], target='cost', blocks={'a': ['age'], 'b': ['patient']})", "api.learn.feature"),
    ],
)
def test_what_makes_no_game_is_refused_before_it_costs(
    call: str, code: str, hospitals: list[cl.Frame], vault: world.Vault
) -> None:
    before = len(vault.releases())
    with pytest.raises(CloisterError) as refused:
        eval(call, {"contribution": contribution, "hs": hospitals})
    assert refused.value.code == code
    assert refused.value.next_step or refused.value.nearest
    assert len(vault.releases()) == before
