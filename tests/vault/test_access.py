"""Access per identity: who, which columns, which rows, when and for what; one failing test of each (S2-06)."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from mutants import mutated
from permit_world import FIRST, SECOND, TABLE, approval, ask, delivery, document_of, make_world, signed, terms_of
from vault_world import PURPOSE, World, context, plan

from cloister.contract import access
from cloister.contract.clauses import Access, Obligation, RowLimit
from cloister.errors import ContractError
from cloister.plan import algebra as a
from cloister.plan import codec, row_limits
from cloister.plan.link import Request
from cloister.plan.typing import NO_UNIT
from cloister.provider import approvals as store
from cloister.provider import broker
from cloister.provider.approvals import Withdrawal
from cloister.vault import exits, permits
from cloister.vault import state as vault_state
from cloister.vault.confidential import ConfidentialVault
from cloister.vault.question import names, prepare

ADA = Access("ada", TABLE, ("x1", "b1", "x2"))
LIMITED = Access("ada", TABLE, ("x1", "x2", "b1"), rows=(RowLimit("x1", low="1", high="2"), RowLimit("b1", ("true",))))
ROWS = a.Filter(
    a.Table(TABLE),
    a.And(
        (
            a.Compare("ge", a.Col("x1"), a.Number("1")),
            a.Compare("le", a.Col("x1"), a.Number("2")),
            a.Compare("eq", a.Col("b1"), a.Boolean(True)),
        )
    ),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("access"))


def terms(world: World, *granted: Access, **changes: Any) -> Any:
    return terms_of(world, document_of(world, access=granted, **changes))


def refused(code: str, act: Any) -> ContractError:
    with pytest.raises(ContractError) as caught:
        act()
    assert caught.value.code == code
    assert caught.value.next_step
    return caught.value


def asked(world: World, known: Any, source: a.Relation, **changes: Any) -> Any:
    document = plan(a.Mean("m", a.Col("x2")), rho="1/100")
    return prepare({**document, "source": _wire(source)}, context(world, **changes), known)


def _wire(source: a.Relation) -> Any:
    return codec.encode(a.VectorSum(source, (a.Count("n"),), "1"))["source"]


def test_who(world: World) -> None:
    both = world.contract()
    known = terms(world, ADA, tables=both.tables, budgets=both.budgets)
    ask(world, known, "aggregate", 1)
    refused("contract.access", lambda: ask(world, known, "aggregate", 1, analyst=world.other_analyst.did))
    refused("contract.access", lambda: prepare(plan(table="bank.customers", rho="1/100"), context(world), known))


def test_columns(world: World) -> None:
    known = terms(world, ADA)
    assert "x3" in refused("contract.access", lambda: ask(world, known, "aggregate", 3)).reason
    refused("contract.access", lambda: prepare(plan(where=a.Col("b2"), rho="1/100"), context(world), known))
    refused("contract.access", lambda: prepare(plan(keys=("b2",), rho="1/100"), context(world), known))
    refused("contract.access", lambda: ask(world, known, "model", 3))
    refused("contract.access", lambda: ask(world, known, "match", 2))
    refused("contract.access", lambda: ask(world, known, "deliver", 3))
    ask(world, known, "match", 1)


def test_rows(world: World) -> None:
    known = terms(world, LIMITED)
    asked(world, known, ROWS)
    more = a.And((*ROWS.where.terms, a.Compare("ge", a.Col("x2"), a.Number("3"))))
    asked(world, known, a.Filter(a.Table(TABLE), more))
    less = a.And(ROWS.where.terms[:2])
    either = a.Or((*ROWS.where.terms, a.Boolean(True)))
    late = a.Filter(a.PerUnit(a.Table(TABLE), (a.UnitMeasure("x2", "max", a.Col("x2")),), ("x1", "b1")), ROWS.where)
    wrong = (
        a.Table(TABLE),
        a.Filter(a.Table(TABLE), less),
        a.Filter(a.Table(TABLE), either),
        a.Filter(a.Cap(a.Table(TABLE), 1), ROWS.where),
        late,
    )
    for source in wrong:
        refused("contract.rows", lambda source=source: asked(world, known, source))
    refused("contract.rows", lambda: ask(world, known, "match", 1))
    refused("contract.rows", lambda: ask(world, known, "deliver", 1))
    looked_up = a.Lookup(a.Table("other"), ("x1",), a.Reference(TABLE, ("x1",), ("x2",)), ("x2",))
    assert row_limits.beyond(looked_up, {TABLE: ROWS.where.terms}) == TABLE
    assert row_limits.beyond(looked_up, {TABLE: ()}) == ""


def test_a_handle_begins_with_the_rows_that_are_granted(world: World) -> None:
    contract = terms(world, LIMITED).contract
    assert row_limits.table(contract, world.analyst.did, world.card) == ROWS
    assert row_limits.table(contract, world.other_analyst.did, world.card) == a.Table(TABLE)


def test_purposes(world: World) -> None:
    narrow = Access("ada", TABLE, ("x1",), purposes=("audit",))
    known = terms(world, narrow, purposes=(PURPOSE, "audit"))
    ask(world, known, "aggregate", 1, purpose="audit")
    refused("contract.purpose", lambda: ask(world, known, "aggregate", 1))


def test_times_are_those_of_the_broker(world: World) -> None:
    for late, early in (("2099-01-01T00:00:00Z", ""), ("", "2021-01-01T00:00:00Z")):
        one = Access("ada", TABLE, ("x1", "b1"), not_before=late, not_after=early)
        state, transport = world.state(document_of(world, access=(one,)))
        exit_plan = msgspec.json.decode(codec.canonical_exit(a.Match(TABLE, "b1", ("p1",))))
        for document in (plan(a.Mean("m", a.Col("x1")), rho="1/1000"), exit_plan):
            refused("contract.access-time", functools.partial(release, world, state, document))
        assert "/v1/append" not in transport.posts


def release(world: World, state: Any, document: Any) -> Any:
    return ConfidentialVault(state).operations()["release"](context(world), Request(1, "release", document)).result


def test_a_contract_without_the_clause_is_as_it_was(world: World) -> None:
    known = terms_of(world, document_of(world))
    ask(world, known, "aggregate", 3, analyst=world.other_analyst.did)


# Approvals, from the document to the broker -----------------------------------------------------------


def test_a_release_rests_on_an_approval_that_the_broker_holds(world: World) -> None:
    document = document_of(world)
    contract, digest = terms_of(world, document).contract, terms_of(world, document).digest
    wanted = approval(world, document, 4, not_before="2020-01-01T00:00:00Z", not_after="2098-01-01T00:00:00Z")
    approved = signed(world, document, wanted, FIRST, SECOND)
    state, _ = world.state(document, approvals=[msgspec.to_builtins(approved)])

    def ask_at(number: int) -> Any:
        return release(world, state, plan(a.Mean("m", a.Col("x4")), rho=f"1/{number}"))

    assert "holds no such" in refused("approval.unknown", lambda: ask_at(1000)).reason
    held = world.anna_home.approvals
    name = held.add(approved, contract, digest)
    first = ask_at(1001)
    assert first["raw"]
    held.withdraw(name, Withdrawal("2026-01-01T00:00:00Z", "a complaint"))
    assert "a complaint" in refused("approval.withdrawn", lambda: ask_at(1002)).reason
    assert ask_at(1001)["recalled"], "what was released stays released"
    with pytest.raises(ContractError, match=r"approval\.withdrawn"):
        held.add(approved, contract, digest)


def test_a_withdrawn_approval_stops_recall_by_another_analyst(world: World) -> None:
    """Under shared releases: what one analyst paid for is shown to another only while his own approval stands."""
    document = document_of(world, share_releases=True)
    known, held = terms_of(world, document), world.anna_home.approvals
    time = {"not_before": "2020-01-01T00:00:00Z", "not_after": "2098-01-01T00:00:00Z"}
    mine = signed(world, document, approval(world, document, 4, **time), FIRST, SECOND)
    asked = approval(world, document, 4, analyst=world.other_analyst.did, **time)
    his = signed(world, document, asked, FIRST, SECOND, asker=world.other_analyst)
    names_held = [held.add(one, known.contract, known.digest) for one in (mine, his)]
    files = [msgspec.to_builtins(one) for one in (mine, his)]
    state, _ = world.state(document, approvals=files)
    leaving = msgspec.json.decode(codec.canonical_exit(delivery(4)))
    questions = (plan(a.Mean("m", a.Col("x4")), rho="1/1005"), leaving)

    def ask_for(question: Any, analyst: str) -> Any:
        asker = context(world, analyst=analyst)
        return ConfidentialVault(state).operations()["release"](asker, Request(1, "release", question)).result

    ada, bob = world.analyst.did, world.other_analyst.did
    for question in questions:
        assert not ask_for(question, ada)["recalled"]
        assert ask_for(question, bob)["recalled"]
    held.withdraw(names_held[1], Withdrawal("2026-01-01T00:00:00Z"))
    for question in questions:
        refused("approval.withdrawn", functools.partial(ask_for, question, bob))
    # Whoever was charged keeps what he was given, also from a vault that knows nothing of it.
    held.withdraw(names_held[0], Withdrawal("2026-01-01T00:00:00Z"))
    for question in questions:
        assert ask_for(question, ada)["recalled"]
    state, _ = world.state(document, approvals=files)
    for question in questions:
        refused("approval.withdrawn", functools.partial(ask_for, question, bob))
        assert ask_for(question, ada)["recalled"], "the broker looks for what was settled first"


def test_an_approval_whose_time_is_over_is_none(world: World) -> None:
    document = document_of(world)
    approved = signed(world, document, approval(world, document, 4, not_before="2020-01-01T00:00:00Z",
                                                not_after="2020-02-01T00:00:00Z"), FIRST, SECOND)  # fmt: skip
    known = terms_of(world, document)
    name = world.anna_home.approvals.add(approved, known.contract, known.digest)
    state, transport = world.state(document, approvals=[msgspec.to_builtins(approved)])
    question = plan(a.Mean("m", a.Col("x4")), rho="1/1000")
    refused("approval.expired", lambda: release(world, state, question))
    assert "/v1/append" not in transport.posts
    held, who = world.anna_home.approvals, world.analyst.did
    late = held.refusal([name], known.contract, known.digest, analyst=who, now="2026-01-01T00:00:00Z")
    assert late is not None
    assert late.status == "approval.expired"
    assert held.refusal([name], known.contract, known.digest, analyst=who, now="2020-01-02T00:00:00Z") is None


def test_an_approval_may_be_renewed_though_the_former_is_still_on_file(world: World) -> None:
    document = document_of(world)
    known, held = terms_of(world, document), world.anna_home.approvals
    former, renewed, later = (
        signed(world, document, approval(world, document, 4, not_before=begin, not_after=end), FIRST, SECOND)
        for begin, end in (("2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z"),
                           ("2020-01-02T00:00:00Z", "2098-01-01T00:00:00Z"),
                           ("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"))
    )  # fmt: skip
    names_held = [held.add(one, known.contract, known.digest) for one in (former, renewed, later)]
    files = [msgspec.to_builtins(one) for one in (former, renewed, later)]
    for order in (files, files[::-1]):
        state, _ = world.state(document, approvals=order)
        assert release(world, state, plan(a.Mean("m", a.Col("x4")), rho="1/1003"))["raw"]
    held.withdraw(names_held[1], Withdrawal("2026-01-01T00:00:00Z"))
    newer = signed(world, document, approval(world, document, 4, not_before="2020-01-03T00:00:00Z",
                                             not_after="2098-01-01T00:00:00Z"), FIRST, SECOND)  # fmt: skip
    held.add(newer, known.contract, known.digest)
    state, _ = world.state(document, approvals=[files[1], msgspec.to_builtins(newer)])
    assert release(world, state, plan(a.Mean("m", a.Col("x4")), rho="1/1004"))["raw"], "the newest counts"


def test_the_broker_looks_at_the_approval_itself(world: World) -> None:
    document, other = document_of(world), document_of(world)
    known, elsewhere = terms_of(world, document), terms_of(world, other)
    approved = signed(world, document, approval(world, document, 4), FIRST, SECOND)
    held = world.anna_home.approvals
    name = held.add(approved, known.contract, known.digest)
    now = "2026-01-02T00:00:00Z"

    def status(contract: Any, analyst: str) -> str:
        found = held.refusal([name], contract.contract, contract.digest, analyst=analyst, now=now)
        return "" if found is None else found.status

    assert status(known, world.analyst.did) == ""
    assert status(known, world.other_analyst.did) == "approval.unknown"
    assert status(elsewhere, world.analyst.did) == "approval.unknown"


def test_an_export_needs_an_approval_where_the_contract_says_so(world: World) -> None:
    """By two persons, of exactly this delivery, and of every column it uses: one about anything else is none."""
    document = document_of(world, obligations=(Obligation("export", "approval"),))
    refusal = refused("contract.export", lambda: ask(world, terms_of(world, document), "deliver", 1))
    mine, other = (codec.exit_digest(delivery(tier)) for tier in (1, 2))
    assert f"--plan {mine} --column x1" in refusal.next_step
    exactly = approval(world, document, 1, operations=("deliver",), plan=mine)
    wrong = (
        (exactly, (FIRST,)),
        (approval(world, document, 1), (FIRST, SECOND)),
        (msgspec.structs.replace(exactly, columns=("b1",)), (FIRST, SECOND)),
        (msgspec.structs.replace(exactly, plan=other), (FIRST, SECOND)),
    )
    for asked_for, signers in wrong:
        known = terms_of(world, document, signed(world, document, asked_for, *signers))
        refused("contract.export", lambda known=known: ask(world, known, "deliver", 1))
    found = ask(world, terms_of(world, document, signed(world, document, exactly, FIRST, SECOND)), "deliver", 1)
    assert len(found.grant.approvals) == 1
    ask(world, terms_of(world, document), "aggregate", 1)


def test_an_approval_of_one_delivery_is_for_no_other(world: World) -> None:
    document = document_of(world)
    for tier, code in ((4, ""), (1, "contract.tier")):
        named = codec.exit_digest(delivery(tier))
        asked_for = approval(world, document, 4, operations=("deliver",), plan=named)
        known = terms_of(world, document, signed(world, document, asked_for, FIRST, SECOND))
        if code:
            refused(code, lambda known=known: ask(world, known, "deliver", 4))
        else:
            ask(world, known, "deliver", 4)
        refused("contract.tier", lambda known=known: ask(world, known, "aggregate", 4))


MUTANTS = [
    (permits, "access.check_table(terms.contract, context.analyst, name, context.purpose)", "pass", test_who),
    (permits, "access.check_columns(terms.contract, context.analyst, table, [name])", "pass", test_columns),
    (permits, "if beyond := row_limits.beyond(plan, wanted):", "if False:", test_rows),
    (row_limits, "terms = node.where.terms if isinstance(node.where, a.And) else (node.where,)",
     "terms = getattr(node.where, 'terms', (node.where,))", test_rows),
    (row_limits, "yield from _beyond(getattr(node, field), (), wanted)",
     "yield from _beyond(getattr(node, field), held, wanted)", test_rows),
    (row_limits, "elif isinstance(node, a.Reference) and wanted.get(node.table):", "elif False:", test_rows),
    (access, "if granted.purposes and purpose not in granted.purposes:", "if False:", test_purposes),
    (permits, "access.check_time(terms.contract, grant.asker, name, now(name))", "pass",
     test_times_are_those_of_the_broker),
    (permits, "if one.approval.holds_at(now(one.approval.table))", "if True",
     test_an_approval_whose_time_is_over_is_none),
    (permits, "chosen.append(holding[:1])", "chosen.append(choice[:1])",
     test_an_approval_may_be_renewed_though_the_former_is_still_on_file),
    (permits, "key=begins, reverse=True", "key=begins",
     test_an_approval_may_be_renewed_though_the_former_is_still_on_file),
    (vault_state, "if answer is not None and question.grant.approvals and answer", "if False and answer",
     test_a_withdrawn_approval_stops_recall_by_another_analyst),
    (broker, "if refused is not None and not self._accounts.has_settled(entry):", "if refused is not None:",
     test_a_withdrawn_approval_stops_recall_by_another_analyst),
    (store, "if gone is not None:\n                return", "if False:\n                return",
     test_a_release_rests_on_an_approval_that_the_broker_holds),
    (store, "or approved.approval.analyst != analyst:", "or False:", test_the_broker_looks_at_the_approval_itself),
    (permits, " and len(approved.approvers) >= 2", "",
     test_an_export_needs_an_approval_where_the_contract_says_so),
    (permits, "asked.plan == grant.delivery and ", "",
     test_an_export_needs_an_approval_where_the_contract_says_so),
    (permits, " and needed <= set(asked.columns)", "",
     test_an_export_needs_an_approval_where_the_contract_says_so),
    (permits, " and asked.plan in {msgspec.UNSET, grant.delivery}", "",
     test_an_approval_of_one_delivery_is_for_no_other),
    (exits, "    allowed = allowed._replace(grant=state.check_times(allowed.grant))\n", "",
     test_times_are_those_of_the_broker),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "test"), MUTANTS)
def test_each_defence_is_needed(world: World, module: Any, old: str, new: str, test: Any) -> None:
    with mutated(module, old, new), pytest.raises((pytest.fail.Exception, AssertionError, KeyError, ContractError)):
        test(world)


def test_the_key_of_a_reference_table_is_a_column_like_the_others(world: World) -> None:
    """Who looks a value up learns whether it is there."""
    known = terms(world, ADA)
    codes = msgspec.structs.replace(world.card, name="codes", unit=NO_UNIT, key=("x1",))
    granted = msgspec.structs.replace(known.contract, access=(ADA, Access("ada", "codes", ("x2",))))
    known = msgspec.structs.replace(known, contract=granted, cards={**known.cards, "codes": codes})
    grant = permits.Grant((TABLE, "codes"), (TABLE,), known.cards, "aggregate")
    permits.permitted([("codes", "x2"), (TABLE, "patient")], grant, context(world), known)
    refused("contract.access", lambda: permits.permitted([("codes", "x1")], grant, context(world), known))


def test_an_approval_counts_only_where_its_broker_is_asked(world: World) -> None:
    both = world.contract()
    document = document_of(world, tables=both.tables, budgets=both.budgets)
    known = terms_of(world, document, signed(world, document, approval(world, document, 4), FIRST, SECOND))
    read = (TABLE, "bank.customers")
    grant = permits.Grant(read, read[1:], known.cards, "aggregate", choices=(known.approvals,))
    ask_for = functools.partial(names, "sha256:" + "0" * 64, Fraction(1, 100), analyst=world.analyst.did, terms=known)
    refused("approval.broker", lambda: ask_for(grant))
    ask_for(grant._replace(scanned=read))
