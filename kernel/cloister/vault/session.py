"""A broker session: prove what this vault is, get admitted, receive the data keys.

1. The broker's hello: a fresh nonce, for this contract.
2. The attester's offer over it, for this vault's keys and no others.
3. The signed session request.
4. The admission, compared with what this vault itself knows.
5. The data keys, opened with the HPKE key the evidence vouches for.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from cloister.attest import hello as handshake
from cloister.attest.binding import binding as binding_of
from cloister.attest.encoding import unb64
from cloister.contract.capsule_keys import TableKeys, data_key_info, decode_sent
from cloister.contract.terms import Broker
from cloister.errors import CloisterError, TrustError
from cloister.receipt import chain
from cloister.receipt.ledger import LedgerReply
from cloister.receipt.receipt import ADMISSION_TYPE, Admission
from cloister.vault.config import Terms
from cloister.vault.keys import VaultKeys
from cloister.vault.ledger import Ledger
from cloister.vault.statuses import check_status
from cloister.wire import canonical, documents
from cloister.wire.envelope import Envelope, open_envelope


class Transport(Protocol):
    """The broker descriptor (``relay.Relay``)."""

    def post(self, broker: str, path: str, body: bytes) -> bytes:
        """Return a broker's answer."""
        ...

    def attest(self, hello: bytes) -> bytes:
        """Return an offer for a hello."""
        ...


class BrokerSession(msgspec.Struct, frozen=True):
    """An admission and what came with it: the epoch of this vault and the keys of each table."""

    broker: Broker
    epoch: int
    admission: Envelope
    admission_digest: str
    table_keys: dict[str, TableKeys]


def open_session(transport: Transport, ledger: Ledger, terms: Terms, keys: VaultKeys) -> BrokerSession:
    """Return an admitted session with the ledger's broker.

    Raises:
        TrustError: Hello, offer, admission or keys are not for this vault, contract and broker; or the broker
            rejected the evidence.
        ContractError: The broker says the contract is unknown to it or not active.
        UnavailableError: Broker or attester did not answer.
    """
    broker = ledger.broker
    question = canonical.encode({"contract": terms.digest, "vault_id": keys.vault_id})
    hello = transport.post(broker.did, "/v1/hello", question)  # 1
    asked = handshake.parse_hello(hello)
    if (asked.role, asked.audience, asked.contract) != (handshake.BROKER_SESSION, broker.did, terms.digest):
        raise _foreign("the hello is not by this broker for this contract")
    offer = handshake.parse_offer(transport.attest(hello))  # 2
    mine = (keys.hpke_public, keys.vault_id, terms.digest, terms.env_digest)
    if (offer.kex_pub, offer.vault_id, offer.contract, offer.env_digest) != mine:
        raise _foreign("the evidence was made for other keys than this vault's")
    reply = ledger.session(terms.digest, keys.hpke_public, msgspec.to_builtins(offer))  # 3
    check_status(reply, broker)
    binding = _binding(hello, offer)
    envelope = _check_admission(reply, broker, terms, keys, binding)  # 4
    table_keys = _open_keys(reply, broker, terms, keys, binding)  # 5
    return BrokerSession(
        broker=broker,
        epoch=reply.epoch,
        admission=envelope,
        admission_digest=chain.admission_digest(envelope),
        table_keys=table_keys,
    )


def _binding(hello: bytes, offer: handshake.Offer) -> bytes:
    return binding_of(
        hello,
        version=offer.version,
        suite=offer.suite,
        role=handshake.BROKER_SESSION,
        kex_pub=unb64(offer.kex_pub),
        kem_ct=unb64(offer.kem_ct),
        vault_id=offer.vault_id,
        contract=offer.contract,
        env_digest=offer.env_digest,
        prev_binding=unb64(offer.prev_binding),
    )


def _check_admission(reply: LedgerReply, broker: Broker, terms: Terms, keys: VaultKeys, binding: bytes) -> Envelope:
    try:
        envelope = msgspec.convert(reply.admission, Envelope)
        admission = documents.decode(open_envelope(envelope, ADMISSION_TYPE, broker.did), Admission)
    except (msgspec.ValidationError, CloisterError) as error:
        raise _foreign("there is no admission signed by the broker") from error
    expected = (broker.did, keys.vault_id, terms.env_digest, terms.digest, binding.hex(), reply.epoch)
    got = (
        admission.broker,
        admission.vault_id,
        admission.env_digest,
        admission.contract,
        admission.binding,
        admission.epoch,
    )
    if got != expected or (admission.assurance == "simulated") != (terms.assurance == "simulated"):
        raise _foreign("the admission is for another vault, session or contract")
    return envelope


def _open_keys(
    reply: LedgerReply, broker: Broker, terms: Terms, keys: VaultKeys, binding: bytes
) -> dict[str, TableKeys]:
    opened: dict[str, dict[str, TableKeys]] = {}
    found = {}
    for name in (name for name, table in terms.tables.items() if table.broker == broker.name):
        manifest = terms.tables[name].manifest
        if manifest not in reply.keys:
            raise _foreign(f"the broker sent no key for {name}")
        if manifest not in opened:
            info = data_key_info(
                contract=terms.digest,
                manifest=manifest,
                broker=broker.did,
                vault_id=keys.vault_id,
                binding=binding,
                epoch=reply.epoch,
            )
            opened[manifest] = decode_sent(keys.open_data_key(unb64(reply.keys[manifest]), info))
        if name not in opened[manifest]:
            raise _foreign(f"the broker sent no key for {name}")
        found[name] = opened[manifest][name]
    return found


def _foreign(reason: str) -> TrustError:
    return TrustError(
        "broker.session",
        reason,
        clause="An admission ties one vault, one contract and fresh evidence together.",
        next_step="Run the cell again; if it happens again, tell the data provider.",
    )
