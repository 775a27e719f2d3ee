"""Every release of the surface has a price, and the price is what is charged, exactly.

The list of what works (``support.py``) is walked: each call runs in a session with noise, every terminal it uses is
asked for its price first, and what the vault then charges must be that price, account by account. A release that no
terminal with a price made fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import pytest
import sandbox_world as world
import support
import support_aggregates
import support_rows

import cloister.sandbox as cl
from cloister.learn import LinearRegression
from cloister.sandbox.ask import Terminal
from cloister.sandbox.cost import Cost

pytestmark = pytest.mark.filterwarnings("ignore")
SPENDS = [
    item for item in support.every() if item.code is not None and item.what not in {"DataFrame.ndim", "Series.ndim"}
]
AGGREGATES = [item for item in SPENDS if item in support_aggregates.WORKS and item.what != "GroupBy.ngroups"]
ROW_WISE = [item for item in SPENDS if item in support_rows.WORKS]


@dataclasses.dataclass
class Audit:
    """What terminals said and what the vault charged, release by release."""

    said: list[Cost] = dataclasses.field(default_factory=list)
    charged: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def check(self, least: int = 1) -> None:
        assert len(self.said) == len(self.charged) >= least, "a release without a price, or a price without a release"
        for said, result in zip(self.said, self.charged, strict=True):
            dues = {due["population"]: Fraction(due["rho"]) for due in result["charges"]}
            assert {account.population: account.rho for account in said.accounts} == dues
            assert said.rho == Fraction(result["rho"]) == max(dues.values())
            assert said.epsilon == max(account.epsilon for account in said.accounts)
            assert said.share == max(account.share for account in said.accounts)


@contextmanager
def audited(vault: world.Vault, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audit]:
    found = Audit()
    call, release = Terminal.__call__, vault._release

    def priced(self: Terminal[Any], *args: Any, **options: Any) -> Any:
        # The terminal's own, not that of a subclass that has read its arguments already.
        found.said.append(Terminal.cost(self, *args, **options))
        answer = call(self, *args, **options)
        if hasattr(answer, "release"):
            fact, said = answer.release.fact, found.said[-1]
            assert (fact.rho, fact.epsilon, fact.share) == (said.rho, said.epsilon, said.share)
            assert fact.accounts == said.accounts
        return answer

    def released(plan: Any) -> dict[str, Any]:
        found.charged.append(release(plan))
        return found.charged[-1]

    with monkeypatch.context() as patched:
        patched.setattr(Terminal, "__call__", priced)
        patched.setattr(vault, "_release", released)
        yield found


def named(item: support.Works) -> str:
    return f"{item.what} {item.case}".strip()


@pytest.mark.parametrize("item", AGGREGATES, ids=named)
def test_what_an_aggregate_costs_is_what_it_is_charged(
    item: support.Works, noisy: tuple[cl.Frame, world.Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, vault = noisy
    assert item.code is not None
    with audited(vault, monkeypatch) as audit:
        item.code(frame.copy())
    audit.check()


@pytest.mark.slow
@pytest.mark.parametrize("item", ROW_WISE, ids=named)
def test_what_row_wise_code_costs_is_what_it_is_charged(
    item: support.Works, noisy: tuple[cl.Frame, world.Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, vault = noisy
    assert item.code is not None
    with audited(vault, monkeypatch) as audit:
        item.code(frame.copy())
    audit.check()


MORE: dict[str, Callable[[Any], Any]] = {
    "independence": lambda d: cl.stats.independence(d.sex, d.smoker),
    "goodness of fit": lambda d: cl.stats.goodness_of_fit(
        d.region, {"north": 0.25, "south": 0.25, "east": 0.25, "west": 0.25}
    ),
    "ttest": lambda d: cl.stats.ttest(d.cost, d.smoker),
    "ttest of rates": lambda d: cl.stats.ttest(d.age >= 50, d.smoker),
    "ols": lambda d: cl.stats.ols("cost ~ age + region", d, epsilon=1),
    "gram": lambda d: cl.gram(d, ["age", "bmi"], share=0.05),
    "crosstab": lambda d: cl.crosstab(d.sex, d.region, margins=True, epsilon=0.1),
    "margins": lambda d: d.pivot_table("cost", "sex", "region", aggfunc="mean", margins=True),
    "plot.hist": lambda d: d.bmi.plot.hist(bins=20),
    "plot.box": lambda d: d.bmi.plot.box(),
    "plot.bar": lambda d: d.sex.plot.bar(),
    "group plot": lambda d: d.groupby("sex").bmi.quantile([0.25, 0.5, 0.75]).release.plot.box(),
    "weighted mean": lambda d: d.groupby("sex").ratio_of_sums("cost", "age"),
    "within": lambda d: d.age.count(within=30),
    "sql": lambda d: cl.sql("SELECT sex, AVG(bmi) AS bmi FROM visits WHERE age >= 18 GROUP BY sex\n-- epsilon 0.1"),
    "sql of windows": lambda d: cl.sql("SELECT MEDIAN(age), COUNT(*) FROM visits", share=0.01),
    "split": lambda d: cl.split(d, parts=5, take=[0, 1]).age.mean(),
    "cap": lambda d: d.cap(1).cost.agg(["mean", "std"]),
}


@pytest.mark.parametrize("name", MORE)
def test_what_the_library_costs_is_what_it_is_charged(
    name: str, noisy: tuple[cl.Frame, world.Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, vault = noisy
    with audited(vault, monkeypatch) as audit:
        MORE[name](frame.copy())
    audit.check()


@pytest.mark.parametrize("own", [True, False])
def test_a_fit_and_a_score_cost_what_they_say(own: bool, noisy: tuple[cl.Frame, world.Vault]) -> None:
    frame, _ = noisy
    wish = {"epsilon": 1.5} if own else {}
    model = LinearRegression(**wish)
    said = model.cost(frame[["age", "sex"]], frame.cost)
    model.fit(frame[["age", "sex"]], frame.cost)
    fact = model.release.fact
    assert (said.rho, said.epsilon, said.share, said.accounts) == (fact.rho, fact.epsilon, fact.share, fact.accounts)
    assert fact.paid is None
    before = len(frame._rows.session._peer.releases())
    said = model.score.cost(frame, frame.cost, share=0.03)
    model.score(frame, frame.cost, share=0.03)
    (plan,) = frame._rows.session._peer.releases()[before:]
    assert said.rho == Fraction(frame._rows.session._peer._price(plan)["rho"])
    assert said.share == pytest.approx(0.03, rel=1e-6)


def test_refining_costs_the_difference_it_says(noisy: tuple[cl.Frame, world.Vault]) -> None:
    frame, _ = noisy
    m = frame.groupby("smoker").cost.mean(share=0.01)
    said = m.release.refine.cost(share=0.04, n=1_000)
    fine = m.release.refine(share=0.04)
    assert said.rho == fine.release.rho - m.release.rho
    assert said.share == fine.release.cost
    at_once = frame.groupby("smoker").cost.mean.cost(share=0.04, n=1_000)
    assert said.stderr == pytest.approx(at_once.stderr, rel=1e-3), "the errors are those of the whole value"
    assert fine.release.fact.accounts[0].rho == fine.release.rho
    assert "pay the difference" in repr(m.release.refine)


@pytest.fixture(scope="module")
def noisy() -> Iterator[tuple[cl.Frame, world.Vault]]:
    from cloister.sandbox import session as sessions

    session, vault = world.session(noise=True, mode="confidential")
    sessions.use(session)
    yield cl.Frame.of_table(session, "clinic.visits"), vault
    sessions.use(None)
