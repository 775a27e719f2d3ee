"""An analyst, an enclave end and a policy that fit together; tests break one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest import simulator
from cloister.attest.channel import EnclaveEnd, RelyingParty
from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence
from cloister.attest.policy import Policy, parse_policy, write_policy
from cloister.attest.simulator import Report, SignedReport
from cloister.wire import canonical
from cloister.wire.identity import SigningKey

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CONTRACT = "sha256:" + "c" * 64
ENV = "sha384:" + "e" * 96
VERIFIERS = {"simulator": simulator.verify}


def seal_report(key: SigningKey, report: Report) -> Evidence:
    """Sign a report as the simulated attester does."""
    signature = b64(key.sign(simulator.SIGNATURE_DOMAIN, canonical.encode(report)))
    blob = b64(canonical.encode(SignedReport(report, key.did, signature)))
    return Evidence(tee="simulator", format=simulator.FORMAT, blob=blob)


@dataclass
class AttestWorld:
    """One analyst and one enclave; ``connect`` walks the honest path."""

    analyst: SigningKey = field(default_factory=lambda: SigningKey.from_bytes(b"a" * 32))
    install: SigningKey = field(default_factory=lambda: SigningKey.from_bytes(b"i" * 32))
    contract: str = CONTRACT
    env: str = ENV
    changes: dict[str, Any] = field(default_factory=dict)

    def attest(self, report_data: bytes) -> Evidence:
        report = Report(
            report_data=report_data.hex(),
            env_digest=self.env,
            contract=self.contract,
            debug=False,
            launch={"simulator": "none"},
            runtime={"isolation": {"level": "full"}},
        )
        return seal_report(self.install, msgspec.structs.replace(report, **self.changes))

    def policy(self, **changes: Any) -> Policy:
        fields = {"tees": ("simulator",), "simulated": True, "env_digests": (ENV,), **changes}
        return parse_policy(write_policy("test", **fields))

    def relying_party(self, **options: Any) -> RelyingParty:
        return RelyingParty(self.analyst.did, CONTRACT, **options)

    def enclave(self, hello: bytes, **options: Any) -> tuple[EnclaveEnd, bytes]:
        end = EnclaveEnd(**options)
        end.receive_hello(hello)
        return end, end.offer(self.attest, vault_id="did:key:vault", env_digest=self.env)

    def judge(self, channel: RelyingParty, offer: bytes, **options: Any) -> Any:
        given = {"policy": self.policy(), "now": NOW, "accept_simulated": True, "verifiers": VERIFIERS, **options}
        return channel.receive_offer(offer, **given)

    def connect(self, *, rekey_frames: int = 1 << 20) -> tuple[RelyingParty, EnclaveEnd]:
        channel = self.relying_party(rekey_frames=rekey_frames)
        end, offer = self.enclave(channel.hello, rekey_frames=rekey_frames)
        self.judge(channel, offer)
        end.admit(
            channel.open_session(self.analyst, session="s1", purpose="teaching", mode="confidential"),
            [self.analyst.did],
        )
        return channel, end


def fixed_key(byte: bytes) -> X25519PrivateKey:
    """Return a reproducible X25519 key."""
    return X25519PrivateKey.from_private_bytes(byte * 32)
