"""The life of an exit, from a plan to what leaves: the same gate as a release, without noise and without a price.

It is authorised by a clause of the contract, charged (rho 0, its own counts) before anything runs, executed under a
planned deadline, settled before it leaves. What an exit gives is exact and follows from plan and data, so a repeated
request costs nothing and must give what its settled receipt states. A repeated match is not executed again while this
vault knows its answers; what is executed again (a delivery, or after a restart) is late like a release,
and planned no shorter than one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import msgspec

from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.plan.link import Context
from cloister.receipt import naming
from cloister.receipt.ledger import ExitEntry
from cloister.receipt.receipt import ExitStatement
from cloister.vault import deliver, match
from cloister.vault.authorise import check_asker, check_source
from cloister.vault.charge import charge, check_shared
from cloister.vault.config import Terms
from cloister.vault.deadline import GRACE_S, Deadline
from cloister.vault.faults import fault
from cloister.vault.keys import derived
from cloister.vault.outside import Allowed, Outside, Way
from cloister.vault.question import names
from cloister.vault.recall import Answer
from cloister.vault.settle import settle
from cloister.vault.sign import sign_receipt, write_exit
from cloister.vault.state import VaultState
from cloister.vault.statuses import exit_error

AGAIN_MS = 100
"""The least planned time of what is executed again: there being late counts, and a busy machine is late for 10 ms."""
_WAYS: dict[type[a.Exit], Way] = {a.Deliver: deliver.DELIVER, a.Match: match.MATCH}


class Left(NamedTuple):
    """An exit that was settled, and what goes to its asker."""

    asked: Outside
    answer: Answer
    result: dict[str, Any]


def leave(state: VaultState, context: Context, document: dict[str, Any]) -> Left:
    """Let an exit out.

    Raises:
        CloisterError: Refused before the charge, unavailable, or a fault; see the module of each step.
    """
    at, terms = state.on_step, state.terms
    state.faults.check()
    at(1)  # decode
    plan = codec.decode_exit(document)
    at(2)  # authorise
    allowed = allow(plan, context, terms)
    state.open(allowed.grant)
    allowed = allowed._replace(grant=state.check_times(allowed.grant))
    # Of a match the text may name who is asked about, which its commitment hides from the providers.
    source = "" if isinstance(plan, a.Match) else check_source(context, terms)
    at(4)  # name
    asked = name_exit(plan, allowed, state.exit_secret(allowed.grant), analyst=context.analyst, terms=terms)
    at(5)  # recall
    known = state.known(asked, context.analyst)
    booked = None
    if known is None:
        at(6)  # charge
        state.sent.note(asked.charge_id, asked.leaves, terms)
        booked = charge(state.brokers, asked, context.analyst, terms, asked.leaves)
        if booked.settled:
            known = state.recall(asked, booked.settled)
            check_shared(state.brokers, asked, known, analyst=context.analyst, terms=terms, leaves=asked.leaves)
    kept = state.executions.get(asked.charge_id)
    again = kept is None and (not state.executions.begin(asked.charge_id) or known is not None)
    planned_ms = max(allowed.price.deadline_ms, AGAIN_MS) if again else allowed.price.deadline_ms
    deadline = Deadline(planned_ms, GRACE_S if again else allowed.grace_s)
    with state.faults.contained(deadline, counts_late=again or allowed.counts_late):
        at(7)  # execute
        with deadline.stopping(state.engine.interrupt):
            executed = kept or way_of(plan).execute(state.engine, terms, asked)
        if not allowed.counts_late:
            state.executions.keep(asked.charge_id, executed)
        if known is None and booked is not None:
            at(9)  # sign
            sessions = state.sessions(asked)
            receipt = write_exit(asked, context, booked, executed.statement, terms=terms, sessions=sessions)
            envelope = sign_receipt(receipt, state.keys.identity)
        elif known is not None:
            _same(executed.statement, known)
    deadline.wait()  # nothing leaves the vault before the planned deadline (G6)
    if known is None:
        at(10)  # settle
        known = settle(state, asked, receipt, envelope, source)
    at(11)  # reply
    return Left(asked, known, executed.result(_same(executed.statement, known)))


def way_of(plan: a.Exit) -> Way:
    """Return how a kind of exit is allowed and executed.

    Raises:
        ContractError: This version has no such exit.
    """
    if type(plan) not in _WAYS:
        raise exit_error(codec.exit_name(plan))
    return _WAYS[type(plan)]


def allow(plan: a.Exit, context: Context, terms: Terms) -> Allowed:
    """Return what the contract allows of an exit, to this asker.

    Raises:
        ContractError: Analyst, purpose or regime is outside the contract, or no clause allows the exit.
        PlanError: What it asks cannot leave as written.
    """
    check_asker(context, terms)
    return way_of(plan).allow(plan, context, terms)


def name_exit(plan: a.Exit, allowed: Allowed, secret: bytes, *, analyst: str, terms: Terms) -> Outside:
    """Return the exit with its names: like a release's, but from a salted commitment in place of the plan's digest.

    The salt is derived, not drawn: a retry must meet its own charge, and two vaults must call one question by one name.
    To everybody without the data keys it is 32 random bytes; unless the contract shares releases, each analyst has one
    of his own, or whoever asked the same would be told the salt that opens another's commitment.
    """
    asker = "" if terms.contract.share_releases else analyst
    salt = derived(secret, "cloister/commitment-salt/v1", asker, codec.exit_digest(plan))
    commitment = naming.commitment(salt, codec.canonical_exit(plan))
    tags = way_of(plan).targets(plan, terms, secret)
    return Outside(
        **names(commitment, Fraction(0), allowed.grant, analyst=analyst, terms=terms),
        price=allowed.price,
        plan=plan,
        analysis=allowed.analysis,
        leaves=ExitEntry(codec.exit_name(plan), allowed.clause, tags),
        salt=salt,
        secret=secret,
    )


def _same(statement: ExitStatement, known: Answer) -> ExitStatement:
    """Return the statement that stands; what was executed now must be what it states, however its key was sealed."""
    stands = known.receipt.exits
    if stands is None or msgspec.structs.replace(stands, key="") != msgspec.structs.replace(statement, key=""):
        raise fault()
    return stands
