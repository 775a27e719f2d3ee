"""Checks of the contract's limits as the vault keeps them; ``test_limits.py`` runs them, also on mutated code.

``lenient()`` is a broker that charges whatever it is asked, with honest figures; ``says()`` is one that signs other
figures than its account has. Both are the real broker otherwise.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from vault_world import DirectTransport, World, context, plan

from cloister.contract.terms import AnalystLimit, Budget, Limits
from cloister.contract.usage import Usage, Used
from cloister.errors import BudgetError, CloisterError
from cloister.plan import algebra as a
from cloister.plan import precision
from cloister.provider import accounts
from cloister.provider.registry import Registered
from cloister.receipt.ledger import REPLY_TYPE, LedgerReply
from cloister.vault import release as gate
from cloister.vault.question import prepare
from cloister.vault.state import VaultState
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal, unverified_payload

NAMES = Limits.__struct_fields__
WIDE = Limits(releases=1000, rows=10**9, compute=10**6, models=100)
RHO = "1/20000"


def model(number: int) -> dict[str, Any]:
    """Return one of many models: each uses something of every limit."""
    where = a.Compare("ge", a.Col("age"), a.Number(str(number)))
    return plan(a.Gram("g", (a.Col("age"), a.Col("cost"))), where=where, rho=RHO)


def usage(world: World) -> Usage:
    """Return what one such model uses."""
    state, _ = world.state()
    return prepare(model(0), context(world), state.terms).price.usage


def limited(world: World, name: str, releases: int, less: int = 0) -> Limits:
    """Return limits of which ``name`` is what so many models use, less a little."""
    used = Used()
    for _ in range(releases):
        used = used.plus(usage(world))
    return msgspec.structs.replace(WIDE, **{name: getattr(used, name) - less})


def vault(world: World, limits: Limits = WIDE, **changes: Any) -> tuple[VaultState, DirectTransport, Any]:
    """Return a vault under a fresh contract with these limits, its transport and the signed contract."""
    document = world.sign(world.contract(limits=limits, **changes))
    return *world.state(document), document


def release(state: VaultState, world: World, number: int, **who: Any) -> Any:
    """Release a model."""
    return gate.release(state, context(world, **who), model(number))


def stopped(state: VaultState, world: World, number: int, code: str, **who: Any) -> CloisterError:
    """Check that a release is refused with this code, and that nothing ran."""
    ran: list[Any] = []
    run, state.engine.run = state.engine.run, ran.append  # type: ignore[method-assign]
    try:
        with pytest.raises(CloisterError) as caught:
            release(state, world, number, **who)
    finally:
        state.engine.run = run  # type: ignore[method-assign]
    assert (caught.value.code, ran) == (code, [])
    assert caught.value.clause
    assert caught.value.reason
    assert caught.value.next_step
    return caught.value


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Let the broker charge beyond every limit, and after the contract's end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_refusal", lambda *_args, **_more: "")
        patch.setattr(Registered, "state", lambda _self, _now: "active")
        yield


def reply_of(body: bytes) -> LedgerReply:
    return msgspec.json.decode(unverified_payload(msgspec.json.decode(body, type=Envelope)), type=LedgerReply)


def says(world: World, transport: DirectTransport, path: str, change: Callable[[LedgerReply], dict[str, Any]]) -> None:
    """Make the broker sign replies with other figures."""
    key = world.anna_home.identity()

    def after(at: str, body: bytes) -> bytes:
        if at != path:
            return body
        reply = reply_of(body)
        return canonical.encode(
            seal(REPLY_TYPE, canonical.encode(msgspec.structs.replace(reply, **change(reply))), key)
        )

    transport.after = after


# The checks ------------------------------------------------------------------------------------------


def check_none_at_all(world: World) -> None:
    """A limit of 0 refuses the first release, whatever the broker does, before it is asked: nothing is charged."""
    for name in NAMES:
        state, transport, _ = vault(world, msgspec.structs.replace(WIDE, **{name: 0}))
        with lenient():
            error = stopped(state, world, 1, f"limit.{name}")
        assert error.clause == f"limits.{name}"
        assert isinstance(error, BudgetError)
        assert "/v1/append" not in transport.posts
        state.terms = msgspec.structs.replace(
            state.terms, contract=msgspec.structs.replace(state.terms.contract, limits=limited(world, name, 1, less=1))
        )
        stopped(state, world, 1, f"limit.{name}")
        assert "/v1/append" not in transport.posts, "one release alone is more than there is"


def check_to_the_limit_and_no_further(world: World) -> None:
    """Two fit exactly, the third does not, though the broker charged it; and two do not fit into a little less."""
    for name in NAMES:
        state, transport, document = vault(world, limited(world, name, 2))
        with lenient():
            for number in (1, 2):
                assert not release(state, world, number).recalled
            error = stopped(state, world, 3, f"limit.{name}")
            assert error.clause == f"limits.{name}"
            assert transport.posts.count("/v1/settle") == 2
            assert release(state, world, 2).recalled, "what was released stays free"
            again, _ = world.state(document)
            assert release(again, world, 1).recalled, "after a restart too, from the broker's deposit"
        state, _, _ = vault(world, limited(world, name, 2, less=1))
        with lenient():
            release(state, world, 1)
            stopped(state, world, 2, f"limit.{name}")


def check_two_brokers(world: World) -> None:
    """Where a release charges two accounts, each reply is held against the contract."""
    from cloister.vault.charge import charge

    for liar in ("st_anna.visits", "bank.customers"):
        state, _, _ = vault(world, limited(world, "rows", 1))
        both = tuple(state.terms.account_of(name) for name in ("st_anna.visits", "bank.customers"))
        question = msgspec.structs.replace(prepare(model(1), context(world), state.terms), accounts=both)
        earlier = msgspec.structs.replace(question, charge_id="earlier", accounts=(state.terms.account_of(liar),))
        with lenient():
            charge(state.brokers, earlier, world.analyst.did, state.terms)
            with pytest.raises(BudgetError) as caught:
                charge(state.brokers, question, world.analyst.did, state.terms)
        assert caught.value.code == "limit.rows"


def check_privacy(world: World) -> None:
    """The budgets of population and analyst hold though the broker charges beyond them."""
    spent, delta = world.anna_broker.tip(world.card.population).spent, Fraction(1, 10**6)
    epsilon = precision.epsilon_of_rho(spent + Fraction(5, 2) * Fraction(RHO), delta)
    granted = Budget(world.card.population, "anna-broker", str(epsilon), str(delta), "0.02")
    state, _, _ = vault(world, budgets=(granted, world.contract().budgets[1]))
    with lenient():
        release(state, world, 1)
        release(state, world, 2)
        error = stopped(state, world, 3, "budget.exhausted")
        assert "than the 0 rho left" in error.reason, "what a lenient broker overspent is not less than nothing"
        assert release(state, world, 1).recalled
    total = precision.rho_of_epsilon(Fraction(8), delta)
    share = AnalystLimit("bob", world.card.population, str(Fraction(5, 2) * Fraction(RHO) / total))
    state, _, _ = vault(world, analyst_limits=(share,))
    bob = world.other_analyst.did
    with lenient():
        release(state, world, 1, analyst=bob)
        release(state, world, 2, analyst=bob)
        stopped(state, world, 3, "limit.analyst", analyst=bob)
        assert not release(state, world, 3).recalled, "the other analyst is not touched"


def check_understated(world: World) -> None:
    """A broker that counts less than it was charged, or less than it said before, is not believed."""
    state, transport, _ = vault(world)
    says(world, transport, "/v1/append", lambda _: {"used": Used()})
    stopped(state, world, 1, "broker.rollback")
    for name in NAMES:
        state, transport, _ = vault(world, limited(world, name, 1))
        release(state, world, 1)
        frozen = Used().plus(usage(world))
        says(world, transport, "/v1/append", lambda _, frozen=frozen: {"used": frozen})
        with lenient():
            stopped(state, world, 2, "broker.rollback")
    state, transport, _ = vault(world)
    says(world, transport, "/v1/append", lambda reply: {"used": reply.used.plus(usage(world))})
    with pytest.raises(CloisterError) as caught:
        release(state, world, 1)
    assert caught.value.code == "broker.rollback", "the settlement says less than the charge"


def check_no_figures(world: World) -> None:
    """A sum that is no number stops the release; it does not stop the vault."""
    for field in ("spent", "analyst_spent"):
        for text in ("1/0", "much", "-1", "1e999999999", "0.5", ""):
            state, transport, _ = vault(world)
            says(world, transport, "/v1/append", lambda _, field=field, text=text: {field: text})
            with pytest.raises(CloisterError) as caught:
                release(state, world, 1)
            assert caught.value.code == "broker.figures"


def check_expiry(world: World) -> None:
    """Nothing is released after the contract's end by the broker's signed time, whoever forgets to refuse."""
    ended = {"time": "2026-12-31T00:00:00Z", "lease": "2027-01-01T00:00:00Z"}
    # 1. The first thing the broker signs tells the time: nothing is charged.
    state, transport, _ = vault(world, not_after="2026-12-31T00:00:00Z")
    says(world, transport, "/v1/session", lambda _: ended)
    with lenient():
        stopped(state, world, 1, "contract.expired")
    assert "/v1/append" not in transport.posts
    # 2. It ends between two releases, and a look at the budget tells: nothing is charged.
    state, transport, _ = vault(world, not_after="2026-12-31T00:00:00Z")
    release(state, world, 1)
    account = state.terms.account_of("st_anna.visits")
    says(world, transport, "/v1/tip", lambda _: ended)
    state.brokers.tip(account.broker, account.budget.population, world.analyst.did)
    charged = transport.posts.count("/v1/append")
    with lenient():
        stopped(state, world, 2, "contract.expired")
        stopped(state, world, 1, "contract.expired")
    assert transport.posts.count("/v1/append") == charged
    # 3. It ends with the charge itself: nothing is run.
    state, transport, _ = vault(world, not_after="2026-12-31T00:00:00Z")
    release(state, world, 1)
    says(world, transport, "/v1/append", lambda _: ended)
    with lenient():
        stopped(state, world, 2, "contract.expired")


def check_usage_is_booked(world: World) -> None:
    """The entry carries the usage, the receipt the account after it; a retry writes the same bytes."""
    state, _, _ = vault(world)
    receipts = [release(state, world, number).receipt for number in (1, 2)]
    entries = {entry["charge_id"]: entry for entry in world.anna_broker.entries(world.card.population)}
    one = usage(world)
    assert (one.rows, one.models) == (world.card.row_limit, 1)
    assert one.compute == prepare(model(1), context(world), state.terms).price.deadline_ms // 100
    for receipt, used in zip(receipts, (Used().plus(one), Used().plus(one).plus(one)), strict=True):
        (charge,) = receipt.charges
        assert entries[receipt.charge_id]["usage"] == json.loads(canonical.encode(one))
        assert charge.used == used
        assert Fraction(charge.analyst_spent) == used.releases * Fraction(receipt.rho)
    tip = world.anna_broker.tip(world.card.population)
    assert (Fraction(charge.spent), charge.size, charge.root) == (tip.spent, tip.size, tip.root)


def keys(world: World, number: int, state: VaultState, delta: str, **changes: Any) -> Any:
    """Return a question that spends delta, as threshold keys do."""
    question = prepare(model(number), context(world), state.terms)
    spent = {key: msgspec.structs.replace(due, delta=Fraction(delta)) for key, due in question.price.charges.items()}
    price = msgspec.structs.replace(question.price, **{"charges": spent, **changes})
    return msgspec.structs.replace(question, price=price)


def check_delta_for_keys(world: World) -> None:
    """Delta holds as a second sum though the broker charges beyond it; what spends none goes on."""
    from cloister.vault.charge import charge

    spent = world.anna_broker.tip(world.card.population).delta.spent
    granted = Budget(world.card.population, "anna-broker", "8", "0.00001", "0.02", str(spent + Fraction(5, 2 * 10**8)))
    state, _, _ = vault(world, budgets=(granted, world.contract().budgets[1]))

    def spend(number: int, delta: str = "1/100000000") -> Any:
        return charge(state.brokers, keys(world, number, state, delta), world.analyst.did, state.terms)

    with lenient():
        for number in (1, 2):
            (booked,) = spend(number).charges
            assert (booked.delta, Fraction(booked.delta_spent)) == ("1/100000000", spent + Fraction(number, 10**8))
        with pytest.raises(BudgetError) as caught:
            spend(3)
        assert (caught.value.code, caught.value.clause[:18]) == ("budget.delta", "budgets.delta_keys")
        (booked,) = spend(4, "0").charges
        assert booked.delta == "0"
        assert booked.delta_spent != "0", "how the second sum stands is stated"
    state, transport, _ = vault(world, budgets=(granted, world.contract().budgets[1]))
    says(world, transport, "/v1/append", lambda _: {"delta": msgspec.UNSET})
    with lenient(), pytest.raises(CloisterError) as caught:
        spend(5)
    assert caught.value.code == "broker.rollback", "a broker that forgets what it was charged"


def check_each_account_its_own_price(world: World) -> None:
    """A release on two accounts costs each what its own units can change; the receipt says so, part by part."""
    from cloister.vault.charge import charge
    from cloister.vault.price import AccountPrice

    state, _, _ = vault(world)
    both = tuple(state.terms.account_of(name) for name in ("st_anna.visits", "bank.customers"))
    whole = prepare(model(1), context(world), state.terms).price
    less = AccountPrice(whole.rho / 4, tuple(part.rho / 4 for part in whole.components), Fraction(1, 10**9))
    question = keys(world, 1, state, "0", charges={**whole.charges, both[1].key: less})
    question = msgspec.structs.replace(question, charge_id="two accounts")
    with lenient():
        before = [world.anna_broker.tip(both[0].budget.population), world.bank_broker.tip(both[1].budget.population)]
        state.terms = msgspec.structs.replace(
            state.terms,
            contract=msgspec.structs.replace(
                state.terms.contract,
                budgets=tuple(msgspec.structs.replace(b, delta_keys="0.0000001") for b in state.terms.contract.budgets),
            ),
        )
        accounts = tuple(state.terms.account_of(name) for name in ("st_anna.visits", "bank.customers"))
        question = msgspec.structs.replace(question, accounts=accounts)
        first, second = charge(state.brokers, question, world.analyst.did, state.terms).charges
        after = [world.anna_broker.tip(both[0].budget.population), world.bank_broker.tip(both[1].budget.population)]
    assert (first.rho, first.parts, first.delta) == (str(whole.rho), (), "0")
    assert (second.rho, second.parts, second.delta) == (str(less.rho), tuple(map(str, less.parts)), "1/1000000000")
    assert [now.spent - then.spent for now, then in zip(after, before, strict=True)] == [whole.rho, less.rho]


CHECKS = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_none_at_all,
        check_to_the_limit_and_no_further,
        check_two_brokers,
        check_privacy,
        check_understated,
        check_no_figures,
        check_expiry,
        check_usage_is_booked,
        check_delta_for_keys,
        check_each_account_its_own_price,
    )
}
