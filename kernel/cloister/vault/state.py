"""What a vault knows while it lives: terms, keys, sessions, loaded tables, settled answers, faults.

Tables are opened when they are first asked for, a broker at a time, so one provider's outage never stops another
provider's data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from cloister.contract.card import Card
from cloister.contract.coverage import covered, narrowed
from cloister.errors import CloisterError, UnavailableError
from cloister.receipt.deposit import receipt_key
from cloister.vault.authorise import check_time
from cloister.vault.brokers import Brokers
from cloister.vault.capsules import check_secret, open_capsule
from cloister.vault.config import Terms
from cloister.vault.deadline import Deadline
from cloister.vault.engine import Engine
from cloister.vault.executions import Executions
from cloister.vault.faults import Faults
from cloister.vault.keys import VaultKeys, exit_secret, load_secret
from cloister.vault.limits import SentTargets
from cloister.vault.permits import Grant, check_times
from cloister.vault.question import Asked
from cloister.vault.recall import Answer, Memory, recall_deposit
from cloister.vault.refusals import Refusals
from cloister.vault.session import BrokerSession, Transport


def load_ms(card: Card) -> int:
    """Return the planned time to load a table, from its declared size alone (three to four times what it takes here).

    Generous, because a load that is late costs everybody ``GRACE_S``.
    """
    return 150 + card.row_limit * len(card.columns) // 1200


def no_step(_number: int) -> None:
    """Observe nothing."""


class VaultState:
    """The state of one vault process; releases use it one at a time.

    ``on_step`` is called with the number of each step of a release as it begins; the crash tests stop the
    process there. Without ``alarm`` brokers are told of refusals only when ``refusals.flush`` is called.
    """

    def __init__(
        self,
        terms: Terms,
        keys: VaultKeys,
        transport: Transport,
        engine: Engine,
        on_step: Callable[[int], None] = no_step,
        *,
        alarm: bool = True,
    ) -> None:
        self.terms = terms
        self.keys = keys
        self.brokers = Brokers(transport, terms, keys)
        self.refusals = Refusals(terms, self.brokers, alarm=alarm)
        self.memory = Memory()
        self.faults = Faults()
        self.executions = Executions()
        self.sent = SentTargets()
        self.engine = engine
        self.on_step = on_step
        self._loaded: set[str] = set()
        self._checked: set[tuple[str, bytes]] = set()
        self._loading = threading.Lock()

    def open(self, grant: Grant) -> None:
        """Open sessions and tables of a grant, and check the contract against the brokers' time.

        Raises:
            CloisterError: See ``session.open_session``, ``capsules.open_capsule``, ``authorise.check_time``.
        """
        for name in grant.tables:
            broker = self.terms.broker_of(name)
            session = self.brokers.session(broker)
            check_time(self.terms, self.brokers.now(broker))
            with self._loading:
                if name not in self._loaded:
                    self._load(name, session)

    def check_times(self, grant: Grant) -> Grant:
        """Return an opened grant with the approvals that hold at the brokers' time, if access does too.

        Raises:
            ContractError: See ``permits.check_times``.
        """
        return check_times(grant, self.terms, lambda name: self.brokers.now(self.terms.broker_of(name)))

    def _load(self, name: str, session: BrokerSession) -> None:
        terms, card = self.terms.tables[name], self.terms.cards[name]
        directory = self._directory(name)
        provider = self.terms.provider_dids[terms.provider]
        keys, columns = session.table_keys[name], covered(self.terms.contract, card)
        deadline = Deadline(load_ms(card))
        try:
            table = open_capsule(directory, terms, provider, card, keys, columns=columns)
            self.engine.load(name, narrowed(card, columns), table, load_secret(keys.secret), self.terms.digest.encode())
        except CloisterError as error:
            deadline.wait()
            self.refusals.capsule(name, error.code)
            raise
        finally:
            deadline.wait()  # how long loading takes depends on the rows there are (G6)
        self._loaded.add(name)

    def sessions(self, question: Asked) -> tuple[BrokerSession, ...]:
        """Return the sessions an answer rests on, one per broker that keeps a key it takes."""
        return self._sessions(question.grant)

    def sealing_key(self, question: Asked) -> bytes:
        """Return the key under which the receipt of a question is deposited."""
        return receipt_key(self._secrets(question.grant), self.terms.digest, question.charge_id)

    def exit_secret(self, grant: Grant) -> bytes:
        """Return the secret of the exits over a grant's tables (``keys.exit_secret``).

        Those of tables that are not read make it too: a broker that sent another one would give units other tags,
        under which an honest broker's counts begin anew.

        Raises:
            TrustError: ``capsule.key``: a secret is not of its table.
            UnavailableError: ``capsule.missing``.
        """
        return exit_secret(self._secrets(grant), self.terms.digest)

    def _check_secret(self, name: str, secret: bytes) -> None:
        terms = self.terms.tables[name]
        if (name, secret) not in self._checked:
            try:
                check_secret(self._directory(name), terms, self.terms.provider_dids[terms.provider], secret)
            except CloisterError as error:
                self.refusals.capsule(name, error.code)
                raise
            self._checked.add((name, secret))

    def _directory(self, name: str) -> Path:
        directory = self.terms.capsules.get(self.terms.tables[name].manifest)
        if directory is None:
            raise UnavailableError("capsule.missing", f"the enclave holds no capsule of {name}")
        return Path(directory)

    def _sessions(self, grant: Grant) -> tuple[BrokerSession, ...]:
        brokers = {broker.did: broker for broker in map(self.terms.broker_of, grant.keyed)}
        return tuple(self.brokers.session(brokers[did]) for did in sorted(brokers))

    def _secrets(self, grant: Grant) -> list[bytes]:
        """Return the secrets of a grant's tables, each checked, in the order of the manifests' digests and names."""
        held = {name: keys.secret for session in self._sessions(grant) for name, keys in session.table_keys.items()}
        for name in grant.keyed:
            self._check_secret(name, held[name])
        return [held[name] for _, name in sorted({(self.terms.tables[name].manifest, name) for name in grant.keyed})]

    def known(self, question: Asked, analyst: str) -> Answer | None:
        """Return the settled answer that an analyst is given without asking a broker, if there is one.

        An answer that rests on approvals is given so only to the analyst who was charged for it. Of any other one, the
        brokers are asked whether his own approvals still stand, and that is asked with the charge.
        """
        answer = self.memory.get(question.release)
        if answer is not None and question.grant.approvals and answer.receipt.analyst != analyst:
            return None
        return answer

    def recall(self, question: Asked, sealed: str) -> Answer:
        """Return, and remember, the answer in a deposit a broker handed back.

        Raises:
            TrustError: ``recall.rejected``.
        """
        answer = recall_deposit(
            sealed,
            self.sealing_key(question),
            release=question.release,
            charge_id=question.charge_id,
            terms=self.terms,
        )
        self.memory.put(question.release, answer)
        return answer
