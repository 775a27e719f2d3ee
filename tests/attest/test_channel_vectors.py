"""``tests/vectors/channel.json``: the binding, the keys and one sealed frame, byte for byte, for other implementations.

The expected values are computed here from the formulas of docs/protocol.md section 3 with ``cryptography`` alone, not
with Cloister's own functions. ``python tests/attest/test_channel_vectors.py`` writes the file again.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from attest_world import CONTRACT, ENV, NOW, VERIFIERS, AttestWorld, fixed_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister.attest import binding as binding_value
from cloister.attest.channel import EnclaveEnd, RelyingParty
from cloister.attest.opening import message
from cloister.attest.sealing import TO_ENCLAVE, Sealer, channel_keys
from cloister.wire import frames
from cloister.wire.frames import Kind
from cloister.wire.identity import SigningKey

FILE = Path(__file__).parent.parent / "vectors" / "channel.json"
SUITE = "x25519-hkdf-sha384-chacha20poly1305"


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def compute() -> dict[str, Any]:
    rp, kex = fixed_key(b"r"), fixed_key(b"e")
    analyst = SigningKey.from_bytes(b"a" * 32)
    hello = (
        f'{{"audience":"{analyst.did}","contract":"{CONTRACT}","role":"analyst-channel","rp_eph_pub":"{_b64(_public(rp))}",'
        f'"rp_nonce":"{_b64(b"n" * 32)}","suites":["{SUITE}"],"versions":["1"]}}'
    )
    fields = [hello, "1", SUITE, "analyst-channel", _public(kex), b"", "did:key:vault", CONTRACT, ENV]
    transcript = (
        b"cloister/attest/v2" + b"".join(lp(f.encode() if isinstance(f, str) else f) for f in fields) + bytes(48)
    )
    binding = hashlib.sha384(transcript).digest()
    shared = rp.exchange(X25519PublicKey.from_public_bytes(_public(kex)))
    keys = {way: _derive(shared, binding, f"cloister/channel/v1 {way}") for way in ("to-enclave", "to-relying-party")}
    signed = binding + b"s1\0teaching\0confidential"
    frame = bytes.fromhex("00000010" + "01" + "0002" + "00000004" + b"cell".hex() + "00000001" + b"1".hex())
    sealed = [
        ChaCha20Poly1305(keys["to-enclave"]).encrypt(n.to_bytes(12, "big"), frame, binding + b"to-enclave")
        for n in (0, 1)
    ]
    rekeyed = _derive(keys["to-enclave"], binding, "cloister/channel/v1 rekey to-enclave")
    return {
        "rp_private": (b"r" * 32).hex(),
        "kex_private": (b"e" * 32).hex(),
        "analyst_seed": (b"a" * 32).hex(),
        "hello": hello,
        "offer": {"version": "1", "suite": SUITE, "vault_id": "did:key:vault", "contract": CONTRACT, "env_digest": ENV},
        "kex_pub": _public(kex).hex(),
        "binding": binding.hex(),
        "report_data": (binding + bytes(16)).hex(),
        "keys": {way: key.hex() for way, key in keys.items()},
        "rekeyed": {"to-enclave": rekeyed.hex()},
        "opening_message": signed.hex(),
        "opening_signature": analyst.sign("cloister/analyst/v1", signed).hex(),
        "frame": frame.hex(),
        "sealed": [s.hex() for s in sealed],
    }


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def _derive(secret: bytes, salt: bytes, info: str) -> bytes:
    return HKDF(algorithm=SHA384(), length=32, salt=salt, info=info.encode()).derive(secret)


def test_file_holds_what_the_formulas_say() -> None:
    assert json.loads(FILE.read_text()) == compute()


def test_binding_and_keys_agree_with_the_vector() -> None:
    vector = json.loads(FILE.read_text())
    binding = binding_value.binding(
        vector["hello"].encode(),
        role="analyst-channel",
        kex_pub=bytes.fromhex(vector["kex_pub"]),
        **vector["offer"],
    )
    assert binding.hex() == vector["binding"]
    assert binding_value.report_data(binding).hex() == vector["report_data"]
    keys = channel_keys(fixed_key(b"r"), bytes.fromhex(vector["kex_pub"]), binding)
    assert {way.decode(): key.hex() for way, key in keys.items()} == vector["keys"]
    assert message(binding, "s1", "teaching", "confidential").hex() == vector["opening_message"]
    sealer = Sealer(keys[TO_ENCLAVE], binding, TO_ENCLAVE, rekey_frames=2)
    assert [sealer.seal(bytes.fromhex(vector["frame"])).hex() for _ in range(2)] == vector["sealed"]
    assert sealer._key is not None
    assert sealer._key.hex() == vector["rekeyed"]["to-enclave"]
    assert frames.encode(Kind.SHELL, b"cell", b"1").hex() == vector["frame"]


def test_both_ends_reproduce_the_vector() -> None:
    vector = json.loads(FILE.read_text())
    world = AttestWorld()
    channel = RelyingParty(world.analyst.did, CONTRACT, ephemeral=fixed_key(b"r"), nonce=b"n" * 32)
    assert channel.hello.decode() == vector["hello"]
    end = EnclaveEnd()
    end.receive_hello(channel.hello)
    offer = end.offer(world.attest, vault_id="did:key:vault", env_digest=ENV, ephemeral=fixed_key(b"e"))
    channel.receive_offer(offer, policy=world.policy(), now=NOW, accept_simulated=True, verifiers=VERIFIERS)
    assert channel.binding.hex() == end.binding.hex() == vector["binding"]


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(compute(), indent=2) + "\n")
