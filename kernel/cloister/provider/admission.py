"""Letting a vault in: its evidence under the broker's policy, the contract's clauses, and the data keys it may open.

1. the evidence answers a hello of ours, fresh and used for the first time; 2. the offer speaks for the key that signed
the request; 3. the contract pins this broker's policy; 4. the evidence verifies and the policy accepts it; 5. a
simulated enclave gets demonstration data only, and only under a contract that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from cloister.attest.agreed import Agreed
from cloister.attest.endorsements import Endorsements
from cloister.attest.evidence import RejectedError
from cloister.attest.policy import Policy
from cloister.attest.verification import Appraisal, appraise_offer
from cloister.contract import relying
from cloister.contract.capsule_keys import data_key_info
from cloister.contract.terms import Broker, Contract
from cloister.errors import ContractError, TrustError
from cloister.provider.data_keys import DataKey, DataKeys
from cloister.provider.keys import seal_to_vault
from cloister.receipt.ledger import SessionRequest
from cloister.receipt.receipt import ADMISSION_TYPE, Admission
from cloister.wire import canonical, envelope
from cloister.wire.identity import SigningKey


class Admitted(msgspec.Struct, frozen=True):
    """An appraised vault and the keys it may have, by manifest digest: of what its contract covers (``coverage``)."""

    appraisal: Appraisal
    keys: dict[str, bytes]


def appraise_request(
    request: SessionRequest,
    hellos: Sequence[bytes],
    contract: Contract,
    *,
    broker: Broker,
    policy: tuple[Policy, str],
    keys: DataKeys,
    now: datetime,
    agreed: Agreed | None = None,
    endorsements: Endorsements | None = None,
) -> Admitted:
    """Return the admitted vault.

    ``hellos`` are those that it may have been told (``Hellos.take``). ``agreed`` is what the contract and the broker's
    own decisions ask beyond the policy (``software.agreed``); without it what the contract asks. ``endorsements`` are
    those the broker keeps.

    Raises:
        TrustError: A stale hello, evidence that does not verify, or a policy that says no.
        MalformedError: The offer does not follow its schema.
        ContractError: The contract pins another policy, or this broker lacks a capsule's key.
    """
    check_policy(contract, broker, policy[1])  # 3
    offer_bytes = canonical.encode(request.offer)
    appraisal = _answers_one(  # 1, 4
        hellos,
        lambda hello: appraise_offer(
            hello,
            None,
            offer_bytes,
            policy=policy[0],
            now=now,
            accept_simulated=contract.accept_simulated,
            agreed=agreed or relying.agreed(contract, policy=policy[1]),
            endorsements=endorsements,
        ),
    )
    offer = appraisal.offer
    if offer.vault_id != request.vault_id or offer.kex_pub != request.vault_hpke or offer.contract != request.contract:
        raise TrustError("session.offer", "the evidence speaks for other keys than the request")  # 2
    held = keys_for(contract, broker, keys)
    named = {table.name for table in contract.tables}
    grades = {table.card.grade for key in held for table in key.tables if table.card.name in named}
    if appraisal.assurance == "simulated" and grades - {"demonstration"}:  # 5
        raise TrustError("session.grade", "a simulated enclave gets demonstration data only")
    return Admitted(appraisal, {key.manifest: key.covered(contract) for key in held})


def _answers_one(hellos: Sequence[bytes], appraise: Callable[[bytes], Appraisal]) -> Appraisal:
    """Return the appraisal of evidence that answers one of our hellos: whoever asks late is told the next one."""
    for hello in hellos:
        try:
            return appraise(hello)
        except RejectedError as error:
            if error.code != "evidence.binding":
                raise
    raise TrustError("session.hello", "no fresh hello of this broker is answered: used, too old, or never sent")


def check_policy(contract: Contract, broker: Broker, digest: str) -> None:
    """Check that the contract pins ``digest`` as the policy of this broker or of the providers it serves.

    Raises:
        ContractError: ``contract.policy``.
    """
    if relying.pinned_policies(contract, broker) != {digest}:
        raise ContractError(
            "contract.policy",
            "the contract pins another policy than this broker's",
            clause="policies",
            next_step="the provider restores the policy, or all parties sign a contract with the new digest",
        )


def seal_admission(admitted: Admitted, key: SigningKey, *, contract: str, epoch: int, time: str) -> envelope.Envelope:
    """Return the broker's signed statement that it appraised this vault and let it in."""
    appraisal = admitted.appraisal
    statement = Admission(
        broker=key.did,
        vault_id=appraisal.offer.vault_id,
        evidence=appraisal.evidence,
        env_digest=appraisal.claims.env_digest,
        contract=contract,
        binding=appraisal.binding.hex(),
        epoch=epoch,
        status=appraisal.status,
        assurance=appraisal.assurance,
        time=time,
    )
    return envelope.seal(ADMISSION_TYPE, canonical.encode(statement), key)


def seal_keys(admitted: Admitted, broker: str, *, contract: str, epoch: int) -> dict[str, str]:
    """Return the keys by manifest digest, those of each capsule sealed to the vault for this session only.

    Raises:
        MalformedError: The vault's key is no usable X25519 key.
    """
    offer = admitted.appraisal.offer
    return {
        manifest: seal_to_vault(
            keys,
            offer.kex_pub,
            data_key_info(
                contract=contract,
                manifest=manifest,
                broker=broker,
                vault_id=offer.vault_id,
                binding=admitted.appraisal.binding,
                epoch=epoch,
            ),
        )
        for manifest, keys in admitted.keys.items()
    }


def shredded(contract: Contract, broker: Broker | None, keys: DataKeys) -> str:
    """Say which of the contract's tables at this broker cannot be used any more; a vault may still hold keys of it."""
    for table in contract.tables:
        if broker is not None and table.broker == broker.name and (gone := keys.gone(table.manifest)) is not None:
            return f"the key of {table.name} was destroyed on {gone.time}: {gone.reason or gone.cause}"
    return ""


def withheld(contract: Contract, broker: Broker | None, keys: DataKeys) -> str:
    """Say which of the contract's tables at this broker cannot be used until the provider keeps its key."""
    for table in contract.tables:
        if broker is not None and table.broker == broker.name and (why := keys.withheld(table.manifest)) is not None:
            return f"the key of {table.name} is withheld since {why.time}: {why.reason}"
    return ""


def keys_for(contract: Contract, broker: Broker, keys: DataKeys) -> tuple[DataKey, ...]:
    """Return the data keys of the contract's capsules at this broker.

    Raises:
        ContractError: ``capsule.shredded``, ``capsule.withheld``; ``contract.key``: one of them is not held here, or is
            of a capsule without that table.
    """
    if why := shredded(contract, broker, keys):
        raise ContractError(
            "capsule.shredded",
            why,
            clause="tables.manifest",
            next_step="seal the table again, and sign a contract that pins the new manifest",
        )
    if why := withheld(contract, broker, keys):
        raise ContractError(
            "capsule.withheld", why, clause="tables.manifest", next_step="cloister capsule keep, if it is to be kept"
        )
    held: dict[str, DataKey] = {}
    for table in contract.tables:
        if table.broker == broker.name:
            key = held.get(table.manifest) or keys.get(table.manifest)
            known = None if key is None else key.table(table.name)
            if key is None or known is None or known.digest != table.card:
                raise ContractError(
                    "contract.key",
                    f"this broker holds no key for {table.name}",
                    clause="tables.manifest",
                    next_step="seal the table with this broker's directory, or restore its keys folder",
                )
            held[table.manifest] = key
    return tuple(held.values())
