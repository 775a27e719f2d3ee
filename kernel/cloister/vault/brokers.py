"""Every broker of the contract, as this vault stands with it: sessions are opened when first needed.

A broker that forgot the session (it was restarted) is asked again once. A session whose lease has ended is dropped
with its data keys, and opened again on fresh evidence. A broker that fenced this vault (a newer vault took over) is
never asked again: an old vault must not come back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloister.contract.terms import Broker
from cloister.errors import TrustError
from cloister.receipt.ledger import Entry, LedgerReply
from cloister.receipt.refusals import Told
from cloister.vault.config import Terms
from cloister.vault.keys import VaultKeys
from cloister.vault.ledger import Ledger
from cloister.vault.session import BrokerSession, Transport, open_session
from cloister.vault.statuses import check_status


class Brokers:
    """Sessions and ledgers by broker name."""

    def __init__(self, transport: Transport, terms: Terms, keys: VaultKeys) -> None:
        self._transport = transport
        self._terms = terms
        self._keys = keys
        self._ledgers = {name: Ledger(transport, broker, keys.identity) for name, broker in terms.brokers.items()}
        self._sessions: dict[str, BrokerSession] = {}
        self._fenced: dict[str, TrustError] = {}
        self._asking = threading.local()
        # One lock each: a broker that hangs must not hold up another provider's data.
        self._locks = {name: threading.RLock() for name in terms.brokers}

    @property
    def asked(self) -> int:
        """How often a broker was asked to charge by this thread: a question is answered in one, others in theirs."""
        return getattr(self._asking, "times", 0)

    def session(self, broker: Broker) -> BrokerSession:
        """Return the session with a broker, opened now if there is none.

        Raises:
            TrustError: The broker fenced this vault, or see ``session.open_session``.
            ContractError: The broker does not serve the contract.
            UnavailableError: Broker or attester did not answer.
        """
        with self._locks[broker.name]:
            if broker.name in self._fenced:
                raise self._fenced[broker.name]
            ledger = self._ledgers[broker.name]
            if ledger.lease_ended():
                self._sessions.pop(broker.name, None)
            if broker.name not in self._sessions:
                self._sessions[broker.name] = open_session(self._transport, ledger, self._terms, self._keys)
            return self._sessions[broker.name]

    def now(self, broker: Broker) -> str:
        """Return the broker's time: its last signed one, carried on by this machine's monotonic clock."""
        return self._ledgers[broker.name].now()

    def append(self, broker: Broker, entry: Entry, approvals: tuple[str, ...] = ()) -> LedgerReply:
        """Charge an account, for a release that rests on these approvals; the reply's status may refuse.

        Raises:
            CloisterError: As ``session``, or the reply cannot be believed.
        """
        self._asking.times = self.asked + 1
        return self._ask(broker, lambda ledger, session: ledger.append(session.epoch, entry, approvals))

    def settle(self, broker: Broker, population: str, charge_id: str, sealed: str) -> LedgerReply:
        """Deposit a receipt.

        Raises:
            CloisterError: As ``session``, or the reply refuses or cannot be believed.
        """
        reply = self._ask(broker, lambda ledger, session: ledger.settle(session.epoch, population, charge_id, sealed))
        check_status(reply, broker)
        return reply

    def tip(self, broker: Broker, population: str, analyst: str) -> LedgerReply:
        """Read an account's sums.

        Raises:
            CloisterError: As ``session``, or the reply refuses or cannot be believed.
        """
        reply = self._ask(
            broker,
            lambda ledger, session: ledger.tip(session.epoch, population, self._terms.digest, analyst),
        )
        check_status(reply, broker)
        return reply

    def tell(self, broker: Broker, told: Told) -> LedgerReply:
        """Tell a broker what this enclave refused by itself; whether it listens is its own matter.

        Raises:
            CloisterError: As ``session``, or the reply cannot be believed.
        """
        # A broker is told in the name of no account and no analyst: the refusals name theirs.
        return self._ask(broker, lambda ledger, session: ledger.tip(session.epoch, "", self._terms.digest, "", told))

    def _ask(self, broker: Broker, question: Callable[[Ledger, BrokerSession], LedgerReply]) -> LedgerReply:
        ledger, session = self._ledgers[broker.name], self.session(broker)
        reply = question(ledger, session)
        if reply.status == "session.fenced" and (later := self.session(broker)).epoch > session.epoch:
            # This vault itself has opened a newer session meanwhile, in another thread: nobody took over.
            reply = question(ledger, later)
        if reply.status == "session.unknown":
            with self._locks[broker.name]:
                self._sessions.pop(broker.name, None)
            reply = question(ledger, self.session(broker))
        if reply.status == "session.fenced":
            self._remember_fence(reply, broker)
        return reply

    def _remember_fence(self, reply: LedgerReply, broker: Broker) -> None:
        try:
            check_status(reply, broker)
        except TrustError as error:
            with self._locks[broker.name]:
                self._fenced[broker.name] = error
                # The data keys of a fenced vault are of no further use to anybody honest.
                self._sessions.pop(broker.name, None)
            raise
