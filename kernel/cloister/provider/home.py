"""The broker's directory: one place for its key, policy, contracts, data keys and accounts.

broker.key       the did key that signs replies (0600)
policy.toml      which enclaves this broker admits; contracts pin its digest
contracts/       signed contracts and the provider's decisions about them
approvals/       signed approvals, and which of them were withdrawn
keys/            data keys of capsules (0600), and marks of those that were destroyed or are withheld
accounts.sqlite  the accounts and the event log, or
accounts.url     where they are in a PostgreSQL server (0600: it may hold a password)
accounts.tip     how far the event log had come (``witness``)
restored.json    there while the accounts are known to be old: the broker only reads (``restored``)
roles.json       who may do what over HTTP (``roles``), revoked.json who may do nothing any more
software/        signed releases of the software, and software.json: vetoes, and the highest version admitted
endorsements.json  what vendors say of hardware, kept by this broker (``cloister endorse``)
metrics.token    whoever shows it gets metrics (``operators``)
alerts.toml      alert rules of the operator's own, in the place of the packaged ones (``receipt.alerts``)
peers.json       other brokers whose checkpoints this one takes up
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from cloister import kept
from cloister.attest.endorsements import Endorsements
from cloister.attest.policy import Policy, parse_policy, policy_digest
from cloister.contract import signing
from cloister.contract.findings import parse_time
from cloister.errors import ContractError, UnavailableError
from cloister.provider import files
from cloister.provider.admission import check_policy, keys_for
from cloister.provider.approvals import Approvals
from cloister.provider.data_keys import DataKey, DataKeys, KeyedTable
from cloister.provider.keys import create_identity, load_identity
from cloister.provider.registry import Registry
from cloister.provider.witness import Witness
from cloister.receipt.events import Event
from cloister.wire import canonical
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

if TYPE_CHECKING:  # sealing needs PyArrow, serving does not; keys and contracts need no accounts
    from cloister.provider.accounts import Accounts
    from cloister.provider.seal import Sealed

_KEY = "broker.key"


def existing(directory: Path) -> Path:
    """Return a directory that is a broker's: in any other, a list would be empty and a decision about nothing.

    Raises:
        UnavailableError: ``broker.none``.
    """
    if not (directory / _KEY).is_file():
        raise UnavailableError(
            "broker.none",
            f"{directory} is no broker's directory: it has no {_KEY}",
            next_step="check the path, or make a broker: cloister broker init DIR --policy FILE",
        )
    return directory


class BrokerHome:
    """Paths and stores of one broker."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key_file = directory / _KEY
        self.policy_file = directory / "policy.toml"
        self.accounts_file = directory / "accounts.sqlite"
        self.accounts_url = directory / "accounts.url"
        self.restored_file = directory / "restored.json"
        self.roles_file = directory / "roles.json"
        self.revoked_file = directory / "revoked.json"
        self.peers_file = directory / "peers.json"
        self.metrics_file = directory / "metrics.token"
        self.alert_rules_file = directory / "alerts.toml"
        self.software_folder = directory / "software"
        self.software_file = directory / "software.json"
        self.endorsements_file = directory / "endorsements.json"
        self.witness = Witness(directory / "accounts.tip")
        self.contracts = Registry(directory / "contracts")
        self.approvals = Approvals(directory / "approvals")
        self.data_keys = DataKeys(directory / "keys")

    @classmethod
    def create(cls, directory: Path, policy: str) -> BrokerHome:
        """Return a broker's directory with a key (kept if there is one) and this policy (TOML).

        Raises:
            MalformedError: Not a policy.
            TrustError: The key file can be read by others.
        """
        parse_policy(policy)
        home = cls(files.private_directory(directory))
        create_identity(home.key_file)
        files.write_private(home.policy_file, policy.encode())
        return home

    def clear_leftovers(self) -> None:
        """Overwrite copies of secrets that a crash left; under ``lock.held``, for rotations write the broker's key."""
        files.clear_leftovers(self.key_file)
        self.data_keys.clear_leftovers()

    def identity(self) -> SigningKey:
        """Return the broker's key.

        Raises:
            UnavailableError: There is none yet.
        """
        return load_identity(self.key_file)

    def policy(self) -> tuple[Policy, str]:
        """Return the appraisal policy and its digest.

        Raises:
            UnavailableError: There is none.
            MalformedError: It cannot be read.
        """
        try:
            text = self.policy_file.read_text(encoding="utf-8")
        except OSError as error:
            raise UnavailableError("policy.missing", f"no policy at {self.policy_file}") from error
        return parse_policy(text), policy_digest(text)

    def endorsements(self) -> Endorsements:
        """Return the endorsements this broker keeps; none where it keeps none.

        Raises:
            UnavailableError: ``endorsements.file``: they are there and cannot be read.
            MalformedError: ``endorsements.bundle``.
        """
        return kept.read_endorsements(self.endorsements_file)

    def keep_endorsements(self, bundle: Endorsements) -> None:
        """Keep a bundle in the place of the present one."""
        files.write_private(self.endorsements_file, canonical.encode(bundle))

    def open_accounts(self, *, busy_ms: int = 2000) -> Accounts:
        """Open the accounts, wherever they are.

        Raises:
            UnavailableError: ``database.unavailable``.
            MalformedError: ``database.url``.
            TrustError: The file of the URL can be read by others.
        """
        from cloister.provider.accounts import Accounts  # noqa: PLC0415 (loads the database tools)

        where: Path | str = self.accounts_file
        if self.accounts_url.exists():
            where = files.read_private(self.accounts_url).decode("utf-8").strip()
        return Accounts(where, busy_ms=busy_ms, witness=self.witness)

    def record(self, *events: Event) -> None:
        """Put what the owner did at this machine into the event log; a restored broker's log takes nothing.

        Raises:
            UnavailableError: ``ledger.unavailable``.
        """
        from cloister.provider import event_log  # noqa: PLC0415 (loads the database tools)

        if self.restored_file.exists():
            return
        accounts = self.open_accounts()
        try:
            with accounts.database.transaction() as db:
                event_log.open_log(db, events[0].time)
                event_log.record(db, *events)
        finally:
            accounts.close()

    def add_contract(self, document: Envelope, *, now: str, activate: bool = True) -> str:
        """Take up a contract this broker can serve; return its digest.

        Raises:
            ContractError: As :meth:`Registry.add`; or the contract does not name this broker
                (``contract.broker``), pins another policy or names a capsule without a data key here.
        """
        contract = signing.read_unverified(document)
        did = self.identity().did
        terms = next((broker for broker in contract.brokers if broker.did == did), None)
        if terms is None:
            raise ContractError(
                "contract.broker",
                "the contract does not name this broker",
                clause="brokers",
                next_step=f"draft it with the did {did}",
            )
        check_policy(contract, terms, self.policy()[1])
        keys_for(contract, terms, self.data_keys)
        return self.contracts.add(document, now=now, activate=activate)

    def add_capsule(self, sealed: Sealed, *, retain_until: str = "") -> None:
        """Keep the data key of a capsule, until a time (RFC 3339 in UTC) if one is given.

        Raises:
            ContractError: ``contract.time``.
            RefusedError: ``capsule.shredded``.
        """
        if retain_until:
            parse_time(retain_until)
        tables = tuple(KeyedTable(one.card, one.digest, one.groups) for one in sealed.tables)
        key = base64.b64encode(sealed.data_key).decode("ascii")
        self.data_keys.put(DataKey(sealed.manifest_digest, key, tables, retain_until))
