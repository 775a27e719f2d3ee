"""What answers a hello in plain: an offer with evidence over it, or a refusal.

Neither is trusted for being there. An offer counts for the evidence in it (``verification``); a refusal is nobody's
word, because whoever carries the bytes can write one.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cloister.attest import binding as binding_value
from cloister.attest.encoding import b64
from cloister.attest.evidence import Evidence
from cloister.attest.hello import Offer, Role, choose, parse_hello
from cloister.errors import CloisterError, TrustError
from cloister.wire import canonical

Attest = Callable[[bytes], Evidence]
"""Turns 64 bytes of report data into evidence."""


def make_offer(
    hello: bytes,
    attest: Attest,
    *,
    kex_pub: bytes,
    vault_id: str,
    env_digest: str,
    role: Role,
    contract: str,
    prev_binding: bytes = b"",
) -> tuple[Offer, bytes]:
    """Return the offer that answers ``hello`` and its binding, for either role.

    ``kex_pub`` is the connection's key, or the vault's HPKE key for a broker session; ``role`` and ``contract`` are the
    enclave's own idea of them: a hello that asks for something else is refused.

    Raises:
        MalformedError: Not a hello.
        TrustError: Another role (``hello.role``) or contract (``hello.contract``), or nothing in common.
    """
    asked = parse_hello(hello)
    if asked.role != role:
        raise TrustError("hello.role", f"evidence for {role} was asked with the role {asked.role}")
    if asked.contract != contract:
        raise TrustError("hello.contract", "evidence for another contract was asked")
    version, suite = choose(asked)
    value = binding_value.binding(
        hello,
        version=version,
        suite=suite,
        role=role,
        kex_pub=kex_pub,
        vault_id=vault_id,
        contract=contract,
        env_digest=env_digest,
        prev_binding=prev_binding,
    )
    offer = Offer(
        version=version,
        suite=suite,
        kex_pub=b64(kex_pub),
        kem_ct="",
        vault_id=vault_id,
        contract=contract,
        env_digest=env_digest,
        prev_binding=b64(prev_binding),
        evidence=attest(binding_value.report_data(value)),
    )
    return offer, value


def refusal(error: CloisterError) -> bytes:
    """Return the plain message that stands in for an offer. It is nobody's word: shown, never trusted."""
    return canonical.encode({"error": error.to_dict()})


def refused(data: bytes) -> CloisterError | None:
    """Return the error in a plain refusal, or None if ``data`` is something else.

    What it says and advises is quoted, as one line of printable text: advice in Cloister's own voice (``next_step``)
    must not come from whoever happens to carry the bytes.
    """
    try:
        message = msgspec.json.decode(data, type=dict[str, dict[str, str | list[str]]])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    fields = message.get("error")
    if fields is None or set(message) != {"error"}:
        return None
    code, reason, advice = (_quoted(fields.get(name, "")) for name in ("code", "reason", "next_step"))
    return TrustError(
        "enclave.refused",
        f"the other side refused before any verdict, saying: [{code[:64]}] {reason}"
        + (f" ({advice})" if advice else ""),
        next_step="nobody has signed this: check endpoint and contract, or ask the enclave's operator",
    )


def _quoted(value: str | list[str]) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(mark if mark.isprintable() else " " for mark in text[:500])
