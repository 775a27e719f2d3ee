"""Limits of a contract at 0, at exactly the limit and beyond: kept by the vault alone, after crashes, on a retry."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from limit_checks import CHECKS, NAMES, WIDE, lenient, limited, model, release, reply_of, stopped, vault
from mutants import mutated
from vault_world import World, context, numbered

from cloister.contract import usage as counting
from cloister.contract.usage import Used
from cloister.errors import CloisterError, UnavailableError
from cloister.plan.link import Request
from cloister.provider.clock import Clock
from cloister.vault import charge, ledger, limits, price
from cloister.vault.confidential import ConfidentialVault


@pytest.mark.parametrize("name", CHECKS)
def test_a_limit_is_kept(quiet_world: World, name: str) -> None:
    CHECKS[name](quiet_world)


MUTANTS = [
    (charge, "    check_alone(question.price.usage, terms)\n", "", "none_at_all"),
    (charge, "        check_charged(reply, account, terms, analyst)\n", "", "to_the_limit_and_no_further"),
    (charge, "        check_charged(reply, account, terms, analyst)\n",
     "        if account is question.accounts[0]:\n            check_charged(reply, account, terms, analyst)\n",
     "two_brokers"),
    (charge, "used=reply.used", "used=reply.used.plus(entry.usage)", "usage_is_booked"),
    (limits, "exceeded(Used().plus(usage), limits)", "exceeded(Used(), limits)", "none_at_all"),
    (limits, "if name := exceeded(reply.used, limits):", "if name := '':", "to_the_limit_and_no_further"),
    (limits, "(spent := Fraction(reply.spent)) > total", "(spent := Fraction(reply.spent)) > 2 * total", "privacy"),
    (limits, "(spent := Fraction(reply.analyst_spent)) > mine", "(spent := Fraction(reply.analyst_spent)) > total",
     "privacy"),
    (limits, "    check_time(terms, reply.time)\n", "", "expiry"),
    (ledger, "if not all(map(_SUM.fullmatch, sums)):", "if not all(sums):", "no_figures"),
    (ledger, "if not reply.used.covers(self._used):", "if False:", "understated"),
    (ledger, "if not used.covers(own):", "if False:", "understated"),
    (ledger, "self._own = own\n", "pass\n", "understated"),
    (counting, "if getattr(used, name) > getattr(limits, name):", "if getattr(used, name) > getattr(limits, name) + 1:",
     "none_at_all"),
    (counting, "if getattr(used, name) > getattr(limits, name):", "if getattr(used, name) >= getattr(limits, name):",
     "to_the_limit_and_no_further"),
    (counting, "self.rows + usage.rows", "self.rows", "none_at_all"),
    (counting, "self.models + usage.models", "self.models", "none_at_all"),
    (counting, "self.compute + usage.compute", "usage.compute", "to_the_limit_and_no_further"),
    (charge, "            check_delta(reply, account, terms, analyst)\n", "            pass\n", "delta_for_keys"),
    (charge, "delta=str(due.delta),", 'delta="0",', "delta_for_keys"),
    (charge, "rho=str(due.rho),", "rho=str(question.price.rho),", "each_account_its_own_price"),
    (charge, "parts=tuple(map(str, due.parts)) if own else (),", "parts=(),", "each_account_its_own_price"),
    (ledger, "if Fraction(reply.spent) < rho or Fraction(reply.deltas.spent) < delta:", "if False:", "delta_for_keys"),
    (limits, "if (spent := Fraction(text)) > most:", "if (spent := Fraction(text)) > 2 * most:", "delta_for_keys"),
    (price, "planned_ms // COMPUTE_MS", "planned_ms // COMPUTE_MS + 1", "usage_is_booked"),
    (price, 'int("model" in analysis.operations)', "0", "usage_is_booked"),
    (price, "analysis.cards[name].row_limit for", "analysis.cards[name].rows_per_unit for", "usage_is_booked"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), MUTANTS)
def test_every_check_of_a_limit_is_needed(quiet_world: World, module: Any, old: str, new: str, check: str) -> None:
    with (
        mutated(module, old, new),
        pytest.raises((AssertionError, pytest.fail.Exception, CloisterError, ValueError, ZeroDivisionError)),
    ):
        CHECKS[check](quiet_world)


# The broker as it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_broker_refuses_first_and_nothing_is_charged(quiet_world: World, name: str) -> None:
    state, _, document = vault(quiet_world, limited(quiet_world, name, 2))
    for number in (1, 2):
        release(state, quiet_world, number)
    size = quiet_world.anna_broker.tip(quiet_world.card.population).size
    error = stopped(state, quiet_world, 3, f"limit.{name}")
    assert error.clause == f"limits.{name}"
    assert quiet_world.anna_broker.tip(quiet_world.card.population).size == size
    again, _ = quiet_world.state(document)
    assert release(again, quiet_world, 2).recalled, "recall is free and does not count"
    assert stopped(again, quiet_world, 3, f"limit.{name}").to_dict() == error.to_dict()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["/v1/append", "/v1/settle"])
def test_the_last_release_that_fits_survives_a_crash(quiet_world: World, name: str, path: str) -> None:
    """Charged at exactly the limit, then the answer is lost and the vault with it: the next vault answers, for free."""
    state, transport, document = vault(quiet_world, limited(quiet_world, name, 1))
    transport.after = lambda at, body: None if at == path else body
    with pytest.raises(UnavailableError):
        release(state, quiet_world, 1)
    charged = quiet_world.anna_broker.tip(quiet_world.card.population)
    again, _ = quiet_world.state(document)
    answer = release(again, quiet_world, 1)
    assert answer.recalled == (path == "/v1/settle")
    assert quiet_world.anna_broker.tip(quiet_world.card.population) == charged
    assert release(again, quiet_world, 1).recalled
    stopped(again, quiet_world, 2, f"limit.{name}")


def test_an_aggregate_is_no_model(quiet_world: World) -> None:
    from cloister.vault.release import release as ask

    limits_without = WIDE.__class__(WIDE.releases, WIDE.rows, WIDE.compute, 0)
    state, _, _ = vault(quiet_world, limits_without)
    assert not ask(state, context(quiet_world), numbered(1)).recalled
    assert stopped(state, quiet_world, 1, "limit.models").reason == "the contract allows no model"


def test_the_end_of_the_contract_by_the_brokers_own_clock(own_world: World) -> None:
    """End to end at the vault: the clock of the broker passes the end, and the vault stops by its signed time."""
    import datetime

    state, transport, _ = vault(own_world, not_after="2026-12-31T00:00:00Z")
    now = [datetime.datetime(2026, 12, 30, 23, 0, tzinfo=datetime.UTC)]
    broker = transport._brokers[own_world.anna_broker.did]
    broker._clock = broker._replies._clock = Clock(lambda: now[0])
    release(state, own_world, 1)
    size = own_world.anna_broker.tip(own_world.card.population).size
    now[0] += datetime.timedelta(hours=2)
    assert stopped(state, own_world, 2, "contract.inactive").next_step
    with lenient():
        account = state.terms.account_of("st_anna.visits")
        state.brokers.tip(account.broker, account.budget.population, own_world.analyst.did)
        error = stopped(state, own_world, 2, "contract.expired")
    assert "not_after" in error.clause
    assert own_world.anna_broker.tip(own_world.card.population).size == size


# The budget, told ------------------------------------------------------------------------------------


def test_a_broker_that_is_down_does_not_hide_the_others(own_world: World) -> None:
    state, transport, _ = vault(own_world)
    release(state, own_world, 1)
    budget = ConfidentialVault(state).operations()["budget"]
    ask = lambda: budget(context(own_world), Request(1, "budget")).result  # noqa: E731
    whole = ask()
    asked: list[str] = []
    post = transport.post

    def one_down(broker: str, path: str, body: bytes) -> bytes:
        if broker == own_world.bank_broker.did:
            asked.append(path)
            raise UnavailableError("broker.unavailable", "no answer came back")
        return post(broker, path, body)

    transport.post = one_down  # type: ignore[method-assign]
    told = ask()
    ours, theirs = told["limits"][:2]
    assert ours == whole["limits"][0]
    assert theirs["error"] == {"code": "broker.unavailable", "reason": "no answer came back"}
    assert (theirs["population"], theirs["limit"]) == (own_world.bank_card.population, whole["limits"][1]["limit"])
    assert not {"spent", "analyst_spent"} & set(theirs)
    assert told["limits"][2:] == whole["limits"][2:]
    transport.post = lambda *_: (_ for _ in ()).throw(UnavailableError("broker.unavailable", "gone"))  # type: ignore[method-assign]
    with pytest.raises(CloisterError) as caught:
        ask()
    assert caught.value.code == "broker.unavailable"


def test_the_budget_states_the_contracts_limits_and_the_brokers_sums(own_world: World) -> None:
    state, transport, _ = vault(own_world)
    release(state, own_world, 1)
    key = own_world.anna_home.identity()

    def generous(at: str, body: bytes) -> bytes:
        import msgspec

        from cloister.receipt.ledger import REPLY_TYPE
        from cloister.wire import canonical
        from cloister.wire.envelope import seal

        reply = reply_of(body)
        if at != "/v1/tip" or reply.broker != key.did:
            return body
        wider = msgspec.structs.replace(reply, limit="900", analyst_limit="900", limits=WIDE.__class__(1, 1, 1, 1))
        return canonical.encode(seal(REPLY_TYPE, canonical.encode(wider), key))

    before = ConfidentialVault(state).operations()["budget"](context(own_world), Request(1, "budget")).result
    transport.after = generous
    after = ConfidentialVault(state).operations()["budget"](context(own_world), Request(1, "budget")).result
    assert after["limits"] == before["limits"], "what is granted is in the contract, and nowhere else"


def test_the_price_names_what_a_release_would_use(quiet_world: World) -> None:
    state, _, _ = vault(quiet_world)
    operations = ConfidentialVault(state).operations()
    priced = operations["price"](context(quiet_world), Request(1, "price", model(1))).result
    assert priced["usage"] == {"rows": quiet_world.card.row_limit, "compute": priced["deadline_ms"] // 100, "models": 1}


def test_counts_of_many_vaults_add_up_at_the_broker(quiet_world: World) -> None:
    """Two vaults in turn, the second one new: the broker's count is the contract's."""
    state, _, document = vault(quiet_world, limited(quiet_world, "releases", 2))
    release(state, quiet_world, 1)
    again, _ = quiet_world.state(document)
    used = release(again, quiet_world, 2).receipt.charges[0].used
    assert used.releases == 2
    assert used.covers(Used(2, 2 * quiet_world.card.row_limit, 0, 2))
    stopped(again, quiet_world, 3, "limit.releases")
    assert threading.active_count() < 200
