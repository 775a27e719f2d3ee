"""Handles over several tables and accounts: aligned on the unit, looked up in reference tables, priced by account."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import msgspec
import pandas as pd
import pytest
import sandbox_world as world
from test_pandas_equality import equal

import cloister.sandbox as cl
from cloister.contract.card import Card, Column
from cloister.errors import CloisterError, PlanError
from cloister.learn import LinearRegression
from cloister.sandbox import session as sessions
from cloister.sandbox.learn import document as docs

CLAIMS = msgspec.structs.replace(
    world.VISITS,
    name="insurer.claims",
    title="Claims",
    population="insurer.members",
    rows_per_unit=3,
    columns=(
        Column("patient_id", "string", 2, "Patient", personal=True),
        Column("kind", "string", 2, "Kind", domain=("care", "drug")),
        Column("paid", "int", 2, "Paid", low="0", high="500", step="1", nullable=True),
        Column("region", "string", 2, "Region", domain=("north", "south", "east", "west")),
    ),
)
REGIONS = Card(
    name="office.regions",
    title="Regions",
    description="Invented.",
    unit="none",
    key=("region",),
    normaliser="exact",
    population="",
    rows_per_unit=1,
    row_limit=16,
    grade="demonstration",
    columns=(
        Column("region", "string", 1, "Region", domain=("north", "south", "east", "west")),
        Column("people", "int", 1, "People", low="0", high="1000", step="1"),
    ),
    source="mock",
    retention="none",
    purposes=("teaching",),
)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[world.Vault]:
    """A contract over two tables of patients, at one broker each in its own account, and a reference table."""
    monkeypatch.setattr(world, "CARDS", {card.name: card for card in (world.VISITS, CLAIMS, REGIONS)})
    session, vault = world.session(noise=False, epsilon="1000")
    sessions.use(session)
    yield vault
    sessions.use(None)


@pytest.fixture
def visits(tables: world.Vault) -> cl.Frame:
    return cl.table("clinic.visits")


@pytest.fixture
def claims(tables: world.Vault) -> cl.Frame:
    return cl.table("insurer.claims")


def both() -> tuple[pd.DataFrame, pd.DataFrame]:
    return world.reference(world.VISITS), world.reference(CLAIMS)


@pytest.mark.parametrize("how", ["inner", "left"])
def test_two_providers_tables_merge_on_the_unit(how: str, visits: cl.Frame, claims: cl.Frame) -> None:
    left, right = both()
    ours = visits.merge(claims, how=how, on="patient_id")
    theirs = left.merge(right, how=how, on="patient_id")
    assert list(ours) == list(theirs)
    equal(ours.paid.sum(), theirs.paid.sum())
    equal(ours.paid.count(), theirs.paid.count())
    equal(ours.groupby("kind").cost.mean(), theirs.groupby("kind", observed=False).cost.mean())
    equal(ours[ours.region_x == ours.region_y].cost.sum(), theirs[theirs.region_x == theirs.region_y].cost.sum())


def test_one_row_per_patient_of_one_table_beside_the_rows_of_another(visits: cl.Frame, claims: cl.Frame) -> None:
    left, right = both()
    ours = visits.merge(claims.groupby("patient_id").agg(total=("paid", "sum"), most=("paid", "max")), how="left")
    theirs = left.merge(
        right.groupby("patient_id").agg(total=("paid", "sum"), most=("paid", "max")).reset_index(), how="left"
    )
    equal(ours.total.mean(), theirs.total.mean())
    equal(ours.most.mean(), theirs.most.mean())


def test_a_question_over_two_accounts_has_the_price_of_the_tightest(visits: cl.Frame, claims: cl.Frame) -> None:
    session = visits._rows.session
    tight, loose = session.about.budgets[0], session.about.budgets[1]
    assert tight.mine < loose.mine, "the analyst has half of the clinic's budget"
    both_tables = visits.merge(claims)
    assert session.accounts(both_tables._rows.tables) == (tight, loose)
    cost = both_tables.cost.count.cost(share=0.1)
    assert cost.share == pytest.approx(0.1, rel=1e-6)
    assert cost.rho <= Fraction(1, 10) * tight.mine
    assert claims.paid.count.cost(share=0.1).rho > cost.rho, "alone it is a share of its own account"


def test_price_and_release_say_what_each_of_several_accounts_pays(visits: cl.Frame, claims: cl.Frame) -> None:
    """Left of a left join the rows come and go with the unit; right of it they are replaced, which costs more."""
    merged = visits.merge(claims, how="left")
    said = merged.cost.mean.cost(share=0.1, n=3_000)
    release = merged.cost.mean(share=0.1).release
    assert said.accounts == release.fact.accounts
    paid = {account.population: account for account in said.accounts}
    assert set(paid) == {"clinic.patients", "insurer.members"}
    assert len({account.rho for account in said.accounts}) == 2, "each pays for what its own units change"
    budgets = {budget.population: budget for budget in visits._rows.session.about.budgets}
    for population, account in paid.items():
        assert account.share == float(account.rho / budgets[population].mine)
        assert account.epsilon == budgets[population].epsilon_of(account.rho)
    assert (release.epsilon, release.share) == (
        max(account.epsilon for account in said.accounts), max(account.share for account in said.accounts)
    )  # fmt: skip
    for shown in (repr(said), repr(release), said._repr_html_()):
        assert "from each account" in shown or "clinic.patients epsilon" in shown
        assert "insurer.members" in shown


def test_a_release_says_what_may_be_done_with_it(tables: world.Vault, visits: cl.Frame, claims: cl.Frame) -> None:
    """The meet of the contract and of every table that was read; the strictest column counts, wherever it stands."""
    rights = visits.age.mean().release.rights
    assert (rights.tier, rights.purposes, rights.share) == (2, frozenset({"teaching"}), False)
    assert rights.receivers == {world.ANALYST}
    assert rights.until == "2027-01-01T00:00:00Z"
    assert visits[visits.cost > 100].age.mean().release.rights.tier == 3, "in a filter"
    assert visits.merge(claims)[["age"]].mean().release.rights.tier == 2
    assert visits.merge(claims).cost.mean().release.rights.tier == 3
    assert visits.age.mean().release.refine(share=0.5).release.rights == rights


def test_a_model_of_two_providers_records_both_accounts(visits: cl.Frame, claims: cl.Frame) -> None:
    merged = visits.cap(2).merge(claims.cap(1))
    model = LinearRegression(epsilon=500).fit(merged[["age", "smoker"]], merged.cost)
    training, privacy = model.document.training, model.document.privacy
    assert training.table == "clinic.visits, insurer.claims"
    assert training.title == "Visits to a clinic and Claims"
    assert training.rows_per_unit == 2 * 1
    paid = {account.population: account for account in model.release.fact.accounts}
    recorded = {account.population: account for account in privacy.accounts}
    assert set(recorded) == set(paid) == {"clinic.patients", "insurer.members"}
    assert all(Fraction(recorded[name].rho) == paid[name].rho for name in paid)
    assert "insurer.members" in str(model.model_card())
    assert LinearRegression.from_json(model.to_json()).document == model.document
    for wrong in ({"rho": "x"}, {"epsilon": "inf"}, {"delta": "?"}):
        other = msgspec.structs.replace(privacy.others[0], **wrong)
        forged = msgspec.structs.replace(model.document, privacy=msgspec.structs.replace(privacy, others=(other,)))
        with pytest.raises(CloisterError, match=r"model\.malformed"):
            LinearRegression.from_json(docs.encode(forged))


def test_a_reference_table_is_looked_up(visits: cl.Frame, tables: world.Vault) -> None:
    regions = cl.table("office.regions")
    assert "a reference table: other tables look it up by region" in repr(regions)
    assert list(regions.mock(3)) == list(regions) == ["region", "people"]
    left = world.reference(world.VISITS)
    public = world.table(REGIONS).to_pandas().drop_duplicates("region")
    public["region"] = public.region.astype(object)
    left["region"] = left.region.astype(object)
    for how in ("left", "inner"):
        ours = visits.merge(regions, on="region", how=how)
        assert list(ours) == [*visits, "people"]
        # Which row stays of a key that stands twice is storage's choice: keys are unique here by construction.
        assert ours.cost.count() == left.merge(public, on="region", how=how).cost.count()
    assert ours._rows.tables == ("clinic.visits", "office.regions")
    assert [account.population for account in ours._rows.session.accounts(ours._rows.tables)] == ["clinic.patients"]


def test_columns_added_to_the_same_rows_come_together(visits: cl.Frame) -> None:
    d = both()[0].sort_values(["date", "cost"])
    group, theirs = visits.sort_values(["date", "cost"]).groupby("patient_id"), d.groupby("patient_id")
    equal((group.cost.shift(1) - group.cost.shift(2)).mean(), (theirs.cost.shift(1) - theirs.cost.shift(2)).mean())
    visits["before"] = group.cost.shift(1)
    visits["rise"] = visits.cost - visits.before
    visits["most"] = group.cost.transform("max")
    d["before"], d["most"] = theirs.cost.shift(1), theirs.cost.transform("max")
    d["rise"] = d.cost - d.before
    equal(visits[visits.rise > 0].most.mean(), d[d.rise > 0].most.mean())
    adults = visits[visits.age > 50]
    adults["later"] = group.cost.shift(-1)
    equal(adults.later.mean(), theirs.cost.shift(-1)[d.age > 50].mean())
    with pytest.raises(PlanError, match=r"plan\.rows"):
        adults.cost + visits.cost


def test_days_since_the_previous_visit_are_never_negative_so_they_cost_half_the_noise(visits: cl.Frame) -> None:
    up = visits.sort_values("date").groupby("patient_id").date.diff()
    down = visits.sort_values("date", ascending=False).groupby("patient_id").date.diff()
    assert (up._term.grid.lo, up._term.grid.hi) == (0, 1_095)
    assert (down._term.grid.lo, down._term.grid.hi) == (-1_095, 1_095)
    equal(up.dt.days.mean(), -down.mean())


def test_a_plan_does_not_depend_on_names_order_or_unused_columns(visits: cl.Frame, tables: world.Vault) -> None:
    first = visits.copy()
    first["a"] = first.within(order="date").bmi.shift(1)
    first["unused"] = first.within(order="cost").cost.cumsum()
    first["b"] = first.sex.map({"F": 1, "M": 2})
    second = visits.copy()
    second["y"] = second.sex.map({"F": 1, "M": 2})
    second["x"] = second.within(order="date").bmi.shift(1)
    (first.a + first.b).mean()
    (second.x + second.y).mean()
    visits.cost.count()
    first.cost.count()
    plans = tables.releases()
    assert _unnamed(plans[0]) == _unnamed(plans[1])
    assert plans[2] == plans[3]
    assert "unused" not in str(plans) and "running_sum" not in str(plans)


def test_only_columns_that_are_asked_for_travel_with_an_alignment(
    visits: cl.Frame, claims: cl.Frame, tables: world.Vault
) -> None:
    visits.merge(claims).paid.mean()
    (plan,) = tables.releases()
    assert plan["source"]["columns"] == (("paid", "paid"),)
    assert claims.merge(visits).paid.mean() is not None


@pytest.mark.parametrize(
    "code",
    [
        "visits.merge(claims, on='region')", "visits.merge(claims, how='outer')", "visits.merge(claims, how='right')",
        "visits.merge(claims, left_on='patient_id', right_on='kind')", "visits.merge([1])", "visits.merge(3)",
        "visits.merge(pd.DataFrame({'patient_id': ['a'], 'x': [1]}), on='patient_id')",
        "visits.merge(pd.DataFrame({'region': ['north', 'north'], 'x': [1, 2]}), on='region')",
        "visits.merge(cl.table('office.regions').query('people > 3'), on='region')",
        "visits.merge(cl.table('office.regions'), on='people')", "visits.merge(claims, suffixes=('', ''))",
        "cl.concat([visits])", "cl.concat([visits, claims], join='left')", "cl.concat([visits, claims], keys=['a'])",
        "cl.split(visits, parts=1)", "cl.split(visits, parts=3, take=3)", "cl.train_test_split(visits, test_size=2)",
        "visits.groupby('patient_id').cumcount()", "visits.drop_duplicates('region')", "visits.sort_values('nothing')",
        "cl.table('office.regions').people.mean()",
    ],
)  # fmt: skip
def test_what_would_let_rows_of_two_people_meet_is_refused(
    code: str, visits: cl.Frame, claims: cl.Frame, tables: world.Vault
) -> None:
    with pytest.raises(PlanError) as caught:
        eval(code, {"visits": visits, "claims": claims, "cl": cl, "pd": pd})
    assert caught.value.code and caught.value.reason
    assert not tables.releases()


def test_tables_of_two_providers_are_stacked(visits: cl.Frame, claims: cl.Frame) -> None:
    left, right = both()
    ours = cl.concat([visits, claims], keys=["visit", "claim"], names=["from"])
    equal(ours.groupby("from").region.count(), pd.Series({"visit": len(left), "claim": len(right)}, name="region"))
    equal(ours.cost.sum(), left.cost.sum())
    equal(ours.paid.count(), right.paid.count())
    inner = cl.concat([visits, claims], join="inner")
    assert list(inner) == ["patient_id", "region"]
    theirs = pd.concat([left.region.astype(str), right.region.astype(str)]).value_counts()
    equal(inner.region.value_counts(), pd.concat([theirs, pd.Series({"(other)": 0})]).rename("count"))


def test_parts_of_a_split_share_no_patient_and_agree_across_tables(visits: cl.Frame, claims: cl.Frame) -> None:
    train, test = cl.train_test_split(visits, test_size=0.2)
    assert train.cost.count() + test.cost.count() == 3_000
    assert 300 < test.cost.count() < 900
    assert train.merge(test).cost_x.count() == 0
    other = cl.train_test_split(claims, test_size=0.2)[1]
    assert train.merge(other).cost.count() == 0
    again = cl.train_test_split(visits, test_size=0.2, random_state=1)[1]
    assert train.merge(again).cost_x.count() > 0


def _unnamed(plan: dict[str, object]) -> str:
    """The text of a plan without the names of its measures."""
    measures = [{**measure, "name": ""} for measure in plan["measures"]]  # type: ignore[attr-defined]
    return str({**plan, "measures": measures})
