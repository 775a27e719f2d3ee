"""A contract as part of an appraisal: its hosts, tenancy, placement and software, for whoever relies on the enclave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from cloister.attest.agreed import Agreed
from cloister.attest.references import Launch
from cloister.attest.releases import Highest, SoftwareRules
from cloister.contract.terms import Broker, Contract
from cloister.wire.envelope import Envelope


def agreed(
    contract: Contract,
    *,
    policy: str = "",
    documents: Iterable[Envelope] = (),
    highest: Highest | None = None,
    vetoed: Mapping[str, str] | None = None,
    launches: Iterable[tuple[Launch, str]] = (),
) -> Agreed:
    """Return what a contract asks of an enclave, for the party with the policy of digest ``policy``.

    Args:
        contract: The signed terms.
        policy: Digest of the party's policy; a release may name those it was made for.
        documents: The software releases this party was given, signed by anybody.
        highest: The highest version it admitted for this contract or one that this contract amends.
        vetoed: Digests of code it refuses, with the reason.
        launches: What it refuses by measurement, with the reason.
    """
    clause = contract.signed_software
    rules = None
    if clause is not None:
        overlap = timedelta(days=clause.overlap_days)
        rules = SoftwareRules(clause.signers, clause.minimum, overlap, tuple(documents), policy, highest)
    exclusive = contract.tenancy == "exclusive"
    return Agreed(
        contract.allowed_hosts, exclusive, rules, vetoed or {}, placement=contract.placement, launches=tuple(launches)
    )


def pinned_policies(contract: Contract, broker: Broker) -> set[str]:
    """Return the digests a contract pins as the policy of a broker or of the providers it serves."""
    names = {broker.name} | {table.provider for table in contract.tables if table.broker == broker.name}
    return {contract.policies[name] for name in names if name in contract.policies}
