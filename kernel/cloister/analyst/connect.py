"""``connect``: look at a contract and an enclave, show what is asked, and store the decision.

The steps are those of a careful person: is the contract signed and am I in it; does something answer with evidence for
this very contract; is it the code and the host I was told to expect; only then store it and make kernels of it. Without
a policy of the analyst's own, what is seen now can be pinned, after it was shown: later changes of code or host are
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cloister.analyst.dial import ask_offer, connection
from cloister.analyst.kernelspecs import install_kernelspecs
from cloister.analyst.trust import TrustEntry, TrustStore, check_analyst, make_entry, read_contract
from cloister.attest.appraise import ISOLATION_LEVELS
from cloister.attest.channel import RelyingParty
from cloister.attest.evidence import Claims
from cloister.attest.hello import parse_offer
from cloister.attest.policy import parse_policy, policy_digest, write_policy
from cloister.contract import relying, signing
from cloister.contract.terms import Contract
from cloister.errors import TrustError


class Proposal(msgspec.Struct, frozen=True):
    """What a person decides about: the contract, what the enclave proved, and the policy that would be stored."""

    name: str
    endpoint: str
    terms: Contract
    contract_digest: str
    claims: Claims
    policy: str
    pinned: bool
    accept_simulated: bool

    def words(self) -> str:
        """Return the proposal in plain words."""
        terms, claims = self.terms, self.claims
        host = "a simulator: it protects nothing from its owner" if claims.assurance == "simulated" else claims.tee
        lines = [
            f"Contract   {terms.title} ({terms.name}), {self.contract_digest[:23]}...",
            f"           signed by {', '.join(party.name for party in terms.parties)}; until {terms.not_after}",
            f"Data       {', '.join(table.name for table in terms.tables)}",
            f"Purposes   {', '.join(terms.purposes)}",
            f"Budget     {', '.join(f'{b.population}: epsilon {b.epsilon}, delta {b.delta}' for b in terms.budgets)}",
            f"Enclave    {self.endpoint}: {host}",
            f"           code {claims.env_digest[:31]}..., signed by {claims.signer}",
        ]
        if self.pinned:
            lines.append("Policy     none given: this code and this host, as seen now, would be pinned")
        else:
            lines.append(f"Policy     {policy_digest(self.policy)[:23]}...: satisfied")
        if claims.assurance == "simulated":
            lines.append("Simulated  " + ("accepted by you" if self.accept_simulated else "NOT accepted"))
        return "\n".join(lines)


async def connect(
    contract_path: Path,
    enclave_url: str,
    *,
    name: str = "",
    policy: str = "",
    accept_simulated: bool = False,
    purpose: str = "",
    operator: str = "",
    confirm: Callable[[Proposal], bool],
    store: TrustStore | None = None,
    prefix: Path | None = None,
) -> TrustEntry:
    """Verify contract and enclave, ask ``confirm``, store the entry and install its two kernelspecs.

    Args:
        contract_path: The signed contract.
        enclave_url: ``ws://`` or ``wss://`` address of the agent.
        name: Name of the entry (default: the contract's).
        policy: TOML text of the analyst's policy; empty pins what the enclave proves now.
        accept_simulated: The analyst's explicit choice.
        purpose: Default purpose (default: the contract's first).
        operator: Who runs this machine, if not the analyst.
        confirm: Shown the proposal; nothing is stored unless it returns True.
        store: Trust store (default: the user's).
        prefix: Install kernelspecs under this prefix instead of for the user.

    Raises:
        ContractError: Unsigned, expired, or not for this analyst or purpose.
        TrustError: The evidence or the policy says no; ``connect.declined`` if the person does.
        UnavailableError: Nobody answers, or nothing can be written.
    """
    store = TrustStore() if store is None else store
    now = datetime.now(UTC)
    # 1. The contract, by itself.
    envelope = read_contract(contract_path)
    terms = signing.open_contract(envelope, now=now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    digest = signing.contract_digest(envelope)
    key = store.analyst_key()
    # 2. The enclave's evidence, over a fresh nonce and for this contract.
    channel = RelyingParty(key.did, digest)
    async with connection(enclave_url) as socket:
        answer = await ask_offer(socket, channel, key)
    appraisal = channel.receive_offer(
        answer,
        policy=parse_policy(policy or _as_offered(terms.name, answer, accept_simulated=accept_simulated)),
        now=now,
        accept_simulated=accept_simulated and terms.accept_simulated,
        agreed=relying.agreed(terms, policy=policy_digest(policy), documents=store.releases()),
        endorsements=store.endorsements(),
    )
    chosen = policy or _pinned(terms.name, appraisal.claims)
    check_analyst(terms, key.did, policy_digest(chosen))
    proposal = Proposal(
        name=name or terms.name,
        endpoint=enclave_url,
        terms=terms,
        contract_digest=digest,
        claims=appraisal.claims,
        policy=chosen,
        pinned=not policy,
        accept_simulated=accept_simulated,
    )
    # 3. The person.
    if not confirm(proposal):
        raise TrustError("connect.declined", "nothing was stored", next_step="run connect again when you have decided")
    # 4. The decision is stored, and becomes two kernels.
    entry = make_entry(
        proposal.name,
        endpoint=enclave_url,
        contract=envelope,
        policy=chosen,
        accept_simulated=accept_simulated,
        purpose=purpose,
        operator=operator,
    )
    store.save(entry)
    install_kernelspecs(entry.name, terms.title, prefix=prefix)
    return entry


def _as_offered(name: str, answer: bytes, *, accept_simulated: bool) -> str:
    offer = parse_offer(answer)
    return write_policy(name, tees=(offer.evidence.tee,), simulated=accept_simulated, env_digests=(offer.env_digest,))


def _pinned(name: str, claims: Claims) -> str:
    declared = claims.runtime.get("isolation")
    level = declared.get("level") if isinstance(declared, dict) else None
    return write_policy(
        name,
        tees=(claims.tee,),
        simulated=claims.assurance == "simulated",
        env_digests=(claims.env_digest,),
        instances=(claims.signer,),
        isolation=level if level in ISOLATION_LEVELS else "none",
    )
