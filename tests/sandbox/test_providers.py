"""Tables of many providers: aligned on the unit, counted together, stacked; each provider has an account of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib.axes
import pandas as pd
import pyarrow as pa
import pytest
import sandbox_world as world

import cloister.sandbox as cl
from cloister.contract.card import Card, Column
from cloister.errors import PlanError
from cloister.sandbox import session as sessions

PERSONS = 300
MANY = 20


def card(number: int, **changes: object) -> Card:
    """Return the card of a provider's table of members."""
    fields: dict[str, object] = {
        "name": f"p{number:02d}.members",
        "title": f"Members of provider {number}",
        "description": "Invented.",
        "unit": "person",
        "key": ("person",),
        "normaliser": "ascii-lower-strip",
        "population": f"p{number:02d}.members",
        "rows_per_unit": 1,
        "row_limit": 512,
        "grade": "demonstration",
        "columns": (
            Column("person", "string", 2, "Person", personal=True),
            Column("score", "int", 2, "Score", low="0", high="100", step="1"),
            Column("group", "string", 2, "Group", domain=("a", "b")),
        ),
        "source": "mock",
        "retention": "none",
        "purposes": ("teaching",),
    }
    return Card(**{**fields, **changes})  # type: ignore[arg-type]


def members(number: int) -> pd.DataFrame:
    """Return the rows of a provider: persons whose number it does not leave out."""
    persons = [person for person in range(PERSONS) if person % (number + 3)]
    return pd.DataFrame(
        {
            "person": [f"P{person:04d} " if number % 2 else f"p{person:04d}" for person in persons],
            "score": [(person * (number + 1)) % 101 for person in persons],
            "group": ["a" if person % 3 else "b" for person in persons],
        }
    )


def plain(number: int) -> pd.DataFrame:
    frame = members(number)
    return frame.assign(person=frame.person.str.lower().str.strip())


@pytest.fixture(scope="module")
def asked() -> Iterator[Callable[..., world.Vault]]:
    """A vault over the tables of as many providers as wanted, the last one used again."""
    patch = pytest.MonkeyPatch()
    patch.setattr(world, "table", lambda known: pa.Table.from_pandas(members(int(known.name[1:3]))))
    made: dict[tuple[int, bool], tuple[sessions.Session, world.Vault]] = {}

    def use(providers: int, *, noise: bool = False) -> world.Vault:
        if (providers, noise) not in made:
            patch.setattr(world, "CARDS", {found.name: found for found in map(card, range(providers))})
            made[providers, noise] = world.session(noise=noise, epsilon="8" if noise else "1000")
        session, vault = made[providers, noise]
        patch.setattr(world, "CARDS", vault.terms.cards)
        sessions.use(session)
        return vault

    yield use
    sessions.use(None)
    patch.undo()


def tables(providers: int) -> list[cl.Frame]:
    return [cl.table(f"p{number:02d}.members") for number in range(providers)]


def joined(providers: int, how: str) -> pd.DataFrame:
    found = plain(0).rename(columns={"score": "score_p00", "group": "group_p00"})
    for number in range(1, providers):
        other = plain(number).rename(columns={"score": f"score_p{number:02d}", "group": f"group_p{number:02d}"})
        found = found.merge(other, on="person", how=how)
    return found


@pytest.mark.parametrize(("providers", "how"), [(2, "inner"), (3, "left"), (5, "inner"), (5, "left"), (MANY, "inner")])
def test_any_number_of_tables_align_on_the_unit(providers, how, asked):
    asked(providers)
    both = cl.align(*tables(providers), how=how)
    want = joined(providers, how)
    last = f"score_p{providers - 1:02d}"
    assert list(both.columns) == list(want.columns)
    assert int(both[last].count()) == want[last].count()
    assert int((both.score_p00 + both[last]).sum()) == (want.score_p00 + want[last]).sum()
    assert cl.align(tables(providers), how=how).score_p00.sum().release.plan_digest == (
        both.score_p00.sum().release.plan_digest
    )


def test_work_and_price_of_twenty_tables_are_planned_in_proportion(asked):
    """The planned time counted every alignment with the rows of all tables: 190 times as long for ten times as many."""
    vault = asked(MANY)
    frames, costs = tables(MANY), {}
    for providers in (2, MANY):
        both = cl.align(*frames[:providers])
        costs[providers] = both.score_p00.sum.cost()
        assert len(costs[providers].accounts) == providers
        assert {paid.rho for paid in costs[providers].accounts} == {costs[providers].rho}
    assert costs[MANY].usage.rows == 10 * costs[2].usage.rows == MANY * 512
    # Planning such a query takes time of its own, which the planned time must leave.
    assert costs[2].deadline_ms < costs[MANY].deadline_ms <= 12 * costs[2].deadline_ms
    sizes = [_sorted_rows(vault, cl.align(*frames[:providers])) for providers in (2, MANY)]
    assert sizes[1] <= 12 * sizes[0]


def _sorted_rows(vault: world.Vault, frame: cl.Frame) -> int:
    from cloister.plan import algebra as a
    from cloister.vault.analyse import analyse

    plan = a.VectorSum(frame._rows.relation, (a.Count("n"),), "1/100")
    return analyse(plan, vault.terms.cards).cost.sorted_rows


@pytest.mark.parametrize(
    ("call", "code", "nearest"),
    [
        ("cl.align(first)", "api.align", "cl.align("),
        ("cl.align(first, pd.DataFrame({'person': ['p1']}))", "api.align", "cl.align("),
        ("cl.align(first, second, how='outer')", "api.align", "cl.match_report("),
        ("cl.align(first, second, suffixes=['_x'])", "api.align", "cl.align("),
        ("cl.align(first, second, suffixes=['', ''])", "api.align", ""),
        ("cl.match_report(first)", "api.match_report", "cl.match_report("),
        ("cl.match_report(*tables(20), pairs=True)", "api.match_report", "pairs=False"),
    ],
)
def test_what_cannot_be_aligned_is_refused_with_the_nearest_form(call, code, nearest, asked):
    asked(MANY)
    first, second = tables(2)
    with pytest.raises(PlanError) as refused:
        eval(call, {"cl": cl, "pd": pd, "tables": tables, "first": first, "second": second})
    assert refused.value.code == code
    assert nearest in " ".join(refused.value.nearest)
    assert refused.value.next_step or refused.value.nearest


def test_columns_of_one_name_take_the_suffixes_given(asked):
    asked(3)
    both = cl.align(*tables(3), suffixes=["", "_b", "_c"])
    assert list(both.columns) == ["person", "score", "group", "score_b", "group_b", "score_c", "group_c"]


@pytest.mark.parametrize("providers", [5, MANY])
def test_any_number_of_tables_are_stacked_and_each_account_pays_as_if_asked_alone(providers, asked):
    asked(providers)
    frames, names = tables(providers), [f"p{number:02d}" for number in range(providers)]
    stacked = cl.concat(frames, keys=names, names=["provider"])
    assert stacked.groupby("provider").size().to_dict() == {name: len(members(int(name[1:]))) for name in names}
    everyone = pd.concat([plain(number) for number in range(providers)])
    assert int(stacked.score.sum()) == everyone.score.sum()
    assert int(stacked.person.nunique()) == everyone.person.nunique()
    alone, together = frames[0].score.sum.cost(share=0.01), stacked.score.sum.cost(share=0.01)
    assert [paid.population for paid in together.accounts] == [f"{name}.members" for name in names]
    assert {paid.rho for paid in together.accounts} == {alone.rho}
    assert together.errors == alone.errors


def changed(number: int, **columns: Column | None) -> Card:
    """Return a provider's card with columns replaced, and all of them in the opposite order."""
    own = {column.name: columns.get(column.name, column) for column in card(number).columns}
    return card(number, columns=tuple(column for column in own.values() if column is not None)[::-1])


def test_cards_of_another_order_domain_or_bounds_stack_and_other_kinds_are_refused(monkeypatch):
    odd = (
        card(0),
        changed(1, group=Column("group", "string", 2, "Group", domain=("b", "c"))),
        changed(2, score=Column("score", "int", 2, "Score", low="0", high="50", step="5")),
        changed(3, score=None, group=None),
        changed(4, score=Column("score", "string", 2, "Score", domain=("low", "high"))),
    )
    monkeypatch.setattr(world, "CARDS", {found.name: found for found in odd[:4]})
    monkeypatch.setattr(world, "table", lambda known: pa.Table.from_pandas(members(int(known.name[1:3]))))
    session, vault = world.session(noise=False, epsilon="1000")
    first, second, third, fourth = (cl.Frame.of_table(session, found.name) for found in odd[:4])
    sizes = cl.concat([first, second]).groupby("group").size()
    assert sizes.to_dict() == {
        "a": (members(0).group == "a").sum(), "b": sum((members(n).group == "b").sum() for n in (0, 1)),
        "(other)": (members(1).group == "a").sum(), "c": 0,
    }  # fmt: skip
    clipped = members(2).score.clip(0, 50)
    assert abs(int(cl.concat([first, third]).score.sum()) - members(0).score.sum() - clipped.sum()) <= 3 * len(clipped)
    assert int(cl.concat([first, fourth]).score.count()) == len(members(0))
    vault.terms.cards[odd[4].name] = odd[4]
    session.about.cards[odd[4].name] = odd[4]
    with pytest.raises(PlanError) as refused:
        cl.concat([first, cl.Frame.of_table(session, odd[4].name)])
    assert refused.value.code == "plan.stack"
    assert "a number in p00.members and a category in p04.members" in refused.value.reason
    assert any(".rename(" in form for form in refused.value.nearest)


def want_units(group: tuple[int, ...]) -> int:
    return len(set.intersection(*(set(plain(number).person) for number in group)))


def test_a_match_report_counts_each_table_every_pair_and_all(asked):
    asked(3)
    report = cl.match_report(*tables(3))
    names = {f"p{number:02d}": number for number in range(3)}
    want = {name: want_units((number,)) for name, number in names.items()}
    want |= {f"p{x:02d} & p{y:02d}": want_units((x, y)) for x, y in ((0, 1), (0, 2), (1, 2))}
    want["all"] = want_units((0, 1, 2))
    assert report.counts.to_dict() == want
    for name in names:
        assert report.unmatched.share[name] == pytest.approx(1 - want["all"] / want[name])
    assert "without a match in all the others" in repr(report)
    assert "<table>" in report._repr_html_()
    assert isinstance(report.plot.bar(), matplotlib.axes.Axes)


def test_a_match_report_of_two_and_of_twenty_tables(asked):
    asked(MANY)
    two = cl.match_report(*tables(2))
    assert two.counts.to_dict() == {"p00": want_units((0,)), "p01": want_units((1,)), "p00 & p01": want_units((0, 1))}
    many = cl.match_report(*tables(MANY))
    assert list(many.counts.index) == [*(f"p{number:02d}" for number in range(MANY)), "all"]
    assert many.counts["all"] == want_units(tuple(range(MANY)))


def test_a_match_report_is_one_charge_with_its_price_before_and_free_again(asked):
    vault = asked(3, noise=True)
    before = cl.match_report.cost(*tables(3), epsilon=0.5)
    assert not vault.releases()
    report = cl.match_report(*tables(3), epsilon=0.5)
    assert len(vault.releases()) == 1
    assert report.fact.rho == before.rho
    assert {paid.population for paid in report.fact.accounts} == {f"p{number:02d}.members" for number in range(3)}
    assert cl.match_report(*tables(3), epsilon=0.5).fact.recalled
    table = report.table()
    assert (table.stderr > 0).all()
    assert (table.low < table.value).all()
    assert (table.value < table.high).all()
    assert ((report.unmatched.low <= report.unmatched.share) & (report.unmatched.share <= report.unmatched.high)).all()


def test_one_unit_moves_every_number_of_a_report_by_one_at_most(asked):
    """The price rests on it: a unit's rows in one table appear, and each count changes by at most one."""
    from cloister.plan import algebra as a
    from cloister.vault.analyse import analyse

    vault = asked(3)
    ask = cl.match_report._build(*tables(3))
    analysis = analyse(ask.plan("1/100"), vault.terms.cards)
    assert isinstance(analysis.plan, a.VectorSum)
    sums = [place for place, part in enumerate(analysis.layout.components) if part.role == "sum"]
    assert len(sums) == 7
    for claim in analysis.claims.values():
        assert {claim.bounds[place].l2_squared for place in sums} == {1}
