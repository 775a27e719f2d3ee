"""Step 9: the receipt, signed by ``vault_id``: enough to check the numbers later without any data."""

from __future__ import annotations

import msgspec

from cloister.plan.link import Context
from cloister.receipt.receipt import RECEIPT_TYPE, ExitStatement, Receipt
from cloister.vault.charge import Booked
from cloister.vault.config import Terms
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
    return Receipt(
        release=question.release,
        plan=question.document,
        plan_digest=question.plan_digest,
        rho=str(question.price.rho),
        mechanism="discrete-gaussian",
        noise=question.noise,
        raw=tuple(str(value) for value in drawn.raw),
        contract=terms.digest,
        manifests=question.manifests,
        cards=question.cards,
        env_digest=terms.env_digest,
        admissions=tuple(sorted(session.admission_digest for session in sessions)),
        charge_id=question.charge_id,
        charges=booked.charges,
        time=booked.time,
        analyst=context.analyst,
        purpose=context.purpose,
        session=context.session,
        transcript=context.transcript,
        cause=context.cause,
        assurance=terms.assurance,
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
        exit=statement,
    )


def sign_receipt(receipt: Receipt, key: SigningKey) -> Envelope:
    """Return the receipt as a DSSE envelope."""
    return seal(RECEIPT_TYPE, canonical.encode(receipt), key)
