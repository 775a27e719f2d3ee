"""What an agent is started with: ``enclave.json``. Paths, addresses and limits, no secrets.

{"contracts": [{"contract": "st_anna.contract.json", "cards": ["visits.card.json"],
                "capsules": {"sha256:...": "/data/visits.capsule"}}],
 "brokers": {"did:key:...": "http://127.0.0.1:8701"}, "ready": "agent.ready", "idle_exit_s": 60}
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cloister.contract import packs, signing
from cloister.contract.terms import Contract
from cloister.enclave.attesters import Choice
from cloister.errors import CloisterError, ContractError, MalformedError
from cloister.wire.envelope import Envelope


class ContractFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One contract this enclave serves: paths of the envelope, its cards and approvals; capsules by manifest digest."""

    contract: str
    cards: tuple[str, ...] = ()
    capsules: dict[str, str] = {}
    approvals: tuple[str, ...] = ()


class EnclaveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's configuration. Relative paths are relative to the file.

    ``brokers`` overrides addresses by did (default: the contract's). ``ready`` receives ``{"url", "pid"}`` once the
    agent listens. ``idle_exit_s`` after the last session the agent ends (0: never). ``resume_s`` is how long a
    kernel waits for an analyst whose connection broke. ``quotes_per_minute`` caps evidence that callers can ask for
    before a session: three quarters for analysts who signed their hello (a third of that in equal parts, one for each),
    the rest for everybody else.
    ``plain_kernel`` starts a bare ipykernel instead of the jail: for tests of the agent alone, never a fall-back.
    ``attester`` is ``auto`` (the machine's TEE, and a simulator only where there is none), ``tsm`` or
    ``simulator``; ``endorsements`` names files that travel with hardware evidence (``collateral`` for TDX).
    """

    contracts: tuple[ContractFiles, ...]
    brokers: dict[str, str] = {}
    host: str = "127.0.0.1"
    port: int = 0
    ready: str = ""
    work: str = ""
    idle_exit_s: float = 0
    resume_s: float = 20
    max_sessions: int = 16
    quotes_per_minute: int = 240
    plain_kernel: bool = False
    attester: Choice = "auto"
    endorsements: dict[str, str] = {}


class ServedContract(msgspec.Struct, frozen=True):
    """A contract as read from disk: terms, digest, and what a vault needs for it."""

    digest: str
    contract: Contract
    envelope: Envelope
    cards: tuple[Envelope, ...]
    capsules: dict[str, str]
    brokers: dict[str, str]
    grades: frozenset[str]
    approvals: tuple[Envelope, ...] = ()

    @property
    def analysts(self) -> frozenset[str]:
        """The dids the contract admits as analysts."""
        return frozenset(party.did for party in self.contract.parties if party.role == "analyst")

    @property
    def keeps_source(self) -> bool:
        """Whether the tier rules of the contract want the source of a cell kept, sealed, that released something."""
        return packs.of(self.contract).source_days > 0


def load_config(path: Path) -> EnclaveConfig:
    """Read ``enclave.json``.

    Raises:
        MalformedError: ``enclave.config``: unreadable, or not the schema.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=EnclaveConfig)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(
            "enclave.config",
            f"{path} is not a configuration: {error}",
            next_step="docs/provider.md section 4 shows one",
        ) from error


def load_contract(files: ContractFiles, base: Path, brokers: dict[str, str]) -> ServedContract:
    """Read a contract, its cards and approvals.

    Signatures of contract and cards are checked here (the vault checks all of them), validity at every session.

    Raises:
        MalformedError: A file that is no envelope.
        ContractError: Not signed by every party, contradicting itself, or a card that its provider did not sign.
    """
    envelope = _envelope(base / files.contract)
    # A contract that expires while the agent runs must stop sessions, not the agent.
    contract = signing.open_contract(envelope, now=signing.read_unverified(envelope).not_before)
    providers = {party.name: party.did for party in contract.parties if party.role == "provider"}
    cards = {signing.payload_digest(card): card for card in (_envelope(base / path) for path in files.cards)}
    grades = set()
    for table in contract.tables:
        if table.card not in cards:
            raise ContractError("card.missing", f"no card of {table.name} is configured", clause="tables.card")
        grades.add(signing.open_card(cards[table.card], providers[table.provider], pinned=table.card).grade)
    return ServedContract(
        digest=signing.contract_digest(envelope),
        contract=contract,
        envelope=envelope,
        cards=tuple(cards.values()),
        grades=frozenset(grades),
        capsules={digest: str((base / folder).resolve()) for digest, folder in files.capsules.items()},
        approvals=tuple(_envelope(base / path) for path in files.approvals),
        brokers={broker.did: brokers.get(broker.did, broker.url) for broker in contract.brokers},
    )


def _envelope(path: Path) -> Envelope:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Envelope)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError("enclave.config", f"{path} is not a signed document") from error
    except CloisterError as error:
        raise MalformedError("enclave.config", f"{path}: {error.reason}") from error
