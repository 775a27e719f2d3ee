"""Re-attestation inside an open channel: fresh evidence that continues the last, without new keys.

The hello and the offer travel as sealed events. ``prev_binding`` chains every attestation of a channel to the one
before, so evidence of another channel, or an older one of this channel, does not continue it. It says that the enclave
can still produce evidence, and names the vault that runs now; like the first it proves what was loaded, no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest.agreed import Agreed
from cloister.attest.endorsements import Endorsements
from cloister.attest.hello import ANALYST_CHANNEL, Hello, Offer, new_hello, parse_hello
from cloister.attest.offer import Attest, make_offer
from cloister.attest.policy import Policy
from cloister.attest.verification import Appraisal, appraise_offer
from cloister.attest.verifiers import Verifier
from cloister.errors import TrustError


class Renewal:
    """The relying party's side of one re-attestation: ``hello`` goes out, ``judge`` takes the answer, once."""

    def __init__(self, audience: str, contract: str, previous: bytes) -> None:
        self._previous = previous
        # The schema wants a key; the channel keeps the keys it has.
        self._ephemeral = X25519PrivateKey.generate()
        self.hello = new_hello(audience, contract, ANALYST_CHANNEL, ephemeral=self._ephemeral)

    def judge(
        self,
        offer: bytes,
        *,
        policy: Policy,
        now: datetime,
        accept_simulated: bool,
        verifiers: Mapping[str, Verifier] | None = None,
        agreed: Agreed | None = None,
        endorsements: Endorsements | None = None,
    ) -> Appraisal:
        """Return the appraisal of fresh evidence; its ``binding`` is the next ``previous``.

        Raises:
            CloisterError: As ``appraise_offer``; ``offer.previous`` if it does not continue this channel.
        """
        return appraise_offer(
            self.hello,
            self._ephemeral,
            offer,
            policy=policy,
            now=now,
            accept_simulated=accept_simulated,
            prev_binding=self._previous,
            verifiers=verifiers,
            agreed=agreed,
            endorsements=endorsements,
        )


def renew_offer(
    hello: bytes, first: Hello, attest: Attest, *, previous: bytes, vault_id: str, env_digest: str
) -> tuple[Offer, bytes]:
    """Return the enclave's answer to a renewal and its binding, which is the next ``previous``.

    Args:
        hello: The renewal's hello as received in the channel.
        first: The hello this channel began with; who asks and for what cannot change on the way.
        attest: Turns 64 bytes of report data into evidence.
        previous: Binding of the channel's last attestation.
        vault_id: The vault that runs now.
        env_digest: Digest of the measured code.

    Raises:
        MalformedError: Not a hello.
        TrustError: ``hello.audience``: another party than the channel's; or as ``make_offer``.
    """
    if parse_hello(hello).audience != first.audience:
        raise TrustError("hello.audience", "a channel is renewed by the party that opened it")
    return make_offer(
        hello,
        attest,
        kex_pub=X25519PrivateKey.generate().public_key().public_bytes_raw(),
        vault_id=vault_id,
        env_digest=env_digest,
        role=ANALYST_CHANNEL,
        contract=first.contract,
        prev_binding=previous,
    )
