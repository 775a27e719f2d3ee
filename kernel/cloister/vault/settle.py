"""Step 10: deposit the sealed receipt at the broker, once, before the answer leaves (G2, G5).

From then on the charge is *settled*: whoever asks the same gets this receipt, and no second noise is ever shown
for it. If the broker already holds another one (an earlier run of this charge that was settled but never seen),
that one is the answer and ours is thrown away.
"""

from __future__ import annotations

import msgspec

from cloister.plan.layout import label_bytes
from cloister.receipt.deposit import WIDEST, Deposit, seal_deposit
from cloister.receipt.receipt import Receipt
from cloister.vault.question import Asked, Question
from cloister.vault.recall import Answer
from cloister.vault.state import VaultState
from cloister.wire import canonical
from cloister.wire.envelope import Envelope


def settle(state: VaultState, question: Asked, receipt: Receipt, envelope: Envelope, source: str = "") -> Answer:
    """Return the answer that stands: this receipt, or the one settled before it.

    ``source`` is the text of the cell, kept with the receipt where there is one (``authorise.check_source``).

    Raises:
        UnavailableError: The broker did not confirm; the answer may not leave, and a retry pays nothing.
        TrustError: The broker's reply cannot be believed, or a newer vault has taken over.
    """
    account = question.accounts[0]
    admissions = tuple(session.admission for session in state.sessions(question))
    deposit = Deposit(envelope, admissions, source or msgspec.UNSET)
    sealed = seal_deposit(
        deposit, state.sealing_key(question), question.charge_id, receipt.raw, _room(question, receipt)
    )
    reply = state.brokers.settle(account.broker, account.budget.population, question.charge_id, sealed)
    if reply.sealed not in {"", sealed}:
        answer = state.recall(question, reply.sealed)
    else:
        answer = Answer(receipt, envelope, admissions, recalled=False)
    state.memory.put(question.release, answer)
    return answer


def _room(question: Asked, receipt: Receipt) -> int:
    """Return how many bytes the released values of keys fall short of the most they could have had."""
    if not isinstance(question, Question):
        return 0  # the receipt of an exit has one size, whatever left
    frame = question.analysis.layout
    if not frame.found or isinstance(receipt.labels, msgspec.UnsetType):
        return 0
    each = WIDEST + 6 + sum(label_bytes(key.grid) + 1 for key in frame.keys)
    taken = sum(len(canonical.encode(found)) + WIDEST + 4 for found in receipt.labels)
    return max(0, frame.cells * each - taken)
