"""The life of a release, from a plan to a signed answer. This function is the gate; each step is one module.

Nothing before step 7 depends on data (G4). From the charge on the release is paid for: what fails is one constant
fault (G3), a retry pays nothing, and once an answer is settled no other is ever given (G5).
"""

from __future__ import annotations

from typing import Any

from cloister.plan import codec
from cloister.plan.link import Context
from cloister.plan.numbers import rational
from cloister.vault.analyse import analyse
from cloister.vault.authorise import authorise, check_source
from cloister.vault.charge import charge, check_shared
from cloister.vault.deadline import Deadline
from cloister.vault.fit import execute
from cloister.vault.permits import check_reads
from cloister.vault.price import price
from cloister.vault.question import name_question
from cloister.vault.recall import Answer
from cloister.vault.settle import settle
from cloister.vault.sign import sign_receipt, write_receipt
from cloister.vault.state import VaultState
from cloister.vault.thresholds import draw


def release(state: VaultState, context: Context, document: dict[str, Any]) -> Answer:
    """Release the answer to a plan.

    Raises:
        CloisterError: Refused before the charge, unavailable, or a fault; see the module of each step.
    """
    at, terms = state.on_step, state.terms
    state.faults.check()
    at(1)  # decode
    plan = codec.decode(document)
    at(2)  # authorise
    grant = authorise(plan, context, terms)
    state.open(grant)
    at(3)  # analyse
    analysis = analyse(plan, grant.cards, terms.account_keys(grant.scanned))
    grant = check_reads(analysis.uses, grant, context, terms)
    grant = state.check_times(grant)
    source = check_source(context, terms)
    at(4)  # price
    cost = price(analysis, rational(plan.rho))
    question = name_question(plan, grant, analysis, cost, analyst=context.analyst, terms=terms)
    at(5)  # recall
    if known := state.known(question, context.analyst):
        return known
    at(6)  # charge
    booked = charge(state.brokers, question, context.analyst, terms)
    if booked.settled:
        known = state.recall(question, booked.settled)
        check_shared(state.brokers, question, known, analyst=context.analyst, terms=terms)
        return known
    deadline = Deadline(cost.deadline_ms)
    with state.faults.contained(deadline):
        at(7)  # execute
        with deadline.stopping(state.engine.interrupt):
            exact = execute(state.engine, analysis, cost)
        at(8)  # noise
        drawn = draw(exact, cost)
        at(9)  # sign
        receipt = write_receipt(question, context, booked, drawn, terms=terms, sessions=state.sessions(question))
        envelope = sign_receipt(receipt, state.keys.identity)
    deadline.wait()  # nothing leaves the vault before the planned deadline, not even a deposit (G6)
    at(10)  # settle
    answer = settle(state, question, receipt, envelope, source)
    at(11)  # reply
    return answer
