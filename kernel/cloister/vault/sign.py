"""Step 9: the receipt, signed by ``vault_id``: enough to check the numbers later without any data."""

from __future__ import annotations

import msgspec

from cloister.plan.link import Context
from cloister.receipt.receipt import RECEIPT_TYPE, ExitStatement, Receipt
from cloister.vault.charge import Booked
from cloister.vault.config import Terms
from cloister.vault.permits import result_tier
from cloister.vault.question import Asked, Question
from cloister.vault.session import BrokerSession
from cloister.vault.thresholds import Drawn
from cloister.wire import canonical
from cloister.wire.envelope import Envelope, seal
from cloister.wire.identity import SigningKey


def write_receipt(
    question: Question,
    context: Context,
    booked: Booked,
    drawn: Drawn,
    *,
    terms: Terms,
    sessions: tuple[BrokerSession, ...],
) -> Receipt:
    """Return what is stated about a release (all of it public once released)."""
    return msgspec.structs.replace(
        _stated(question, context, booked, terms, sessions),
        plan=question.document,
        rho=str(question.price.rho),
        noise=question.noise,
        raw=tuple(str(value) for value in drawn.raw),
        delta=msgspec.UNSET if drawn.labels is None else str(question.price.delta),
        labels=msgspec.UNSET if drawn.labels is None else drawn.labels,
    )


def write_exit(
    asked: Asked,
    context: Context,
    booked: Booked,
    statement: ExitStatement,
    *,
    terms: Terms,
    sessions: tuple[BrokerSession, ...],
) -> Receipt:
    """Return what is stated about an exit: neither plan nor values (``receipt/exits.py``)."""
    return msgspec.structs.replace(_stated(asked, context, booked, terms, sessions), exit=statement)


def _stated(
    asked: Asked, context: Context, booked: Booked, terms: Terms, sessions: tuple[BrokerSession, ...]
) -> Receipt:
    """Return what every receipt states: who asked, in which session, under which contract, with which charges."""
    return Receipt(
        release=asked.release,
        plan={},
        plan_digest=asked.plan_digest,
        rho="0",
        mechanism="discrete-gaussian",
        noise=(),
        raw=(),
        contract=terms.digest,
        manifests=asked.manifests,
        cards=asked.cards,
        env_digest=terms.env_digest,
        admissions=tuple(sorted(session.admission_digest for session in sessions)),
        charge_id=asked.charge_id,
        charges=booked.charges,
        time=booked.time,
        analyst=context.analyst,
        purpose=context.purpose,
        session=context.session,
        transcript=context.transcript,
        cause=context.cause,
        assurance=terms.assurance,
        tier=result_tier(asked.grant, terms),
    )


def sign_receipt(receipt: Receipt, key: SigningKey) -> Envelope:
    """Return the receipt as a DSSE envelope."""
    return seal(RECEIPT_TYPE, canonical.encode(receipt), key)
