"""Seeds and mutations for every reader of hardware evidence: what the fuzz tests throw at them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import cbor2
import cose_world
import nvidia_world
import test_oidc as oidc
import tpm_world
import vendor_pki as pki
from amd_world import report, roots, vek

from cloister.attest.tee import (
    azure_vtpm,
    cbor,
    cca,
    cose,
    der,
    gcp_oidc,
    gcp_vtpm,
    jwt,
    nitro,
    nvidia,
    protobuf,
    rim,
    snp,
    spdm,
    tcg_log,
    tpm_structures,
    x509,
    xmlc14n,
)  # fmt: skip

Reader = Callable[[bytes], object]


def readers() -> dict[str, tuple[Reader, list[bytes]]]:
    """Return every reader with seeds that it accepts: whole verifiers, and the readers behind their signatures."""
    runtime = tpm_world.runtime()
    log = tpm_world.event_log(*(tpm_world.event(pcr, b"event") for pcr in range(4)))
    spdm_bytes = bytes.fromhex(nvidia_world.report().decode())
    rims = list(nvidia_world.rims().values())
    return {
        "snp": (lambda data: snp.examine(data, {"vek": vek()}, roots(), pki.NOW), [report()]),
        "vek": (lambda data: snp.examine(report(), {"vek": data}, roots(), pki.NOW), [vek()]),
        "certificate": (x509.parse, [vek(), pki.issue("leaf", pki.p384("leaf")).der]),
        "certificates": (x509.parse_pem, [nvidia_world.chain()]),
        "der": (_whole_der, [vek()]),
        "cbor": (cbor.decode, [cose_world.document(), cose_world.token()]),
        "cose": (cose.read, [cose_world.document(), cose_world.document(tag=True)]),
        "nitro": (cose_world.examine_nitro, [cose_world.document()]),
        "nitro payload": (nitro.parse, [cbor2.dumps(cose_world.payload())]),
        "cca": (cose_world.examine_cca, [cose_world.token()]),
        "cca key": (lambda data: cose_world.examine_cca(cose_world.token(), data), [cose_world.iak()]),
        "cca realm": (cca.parse_realm, [cbor2.dumps(cose_world.realm())]),
        "cca platform": (cca.parse_platform, [cbor2.dumps(cose_world.platform(b"key"))]),
        "tpm": (tpm_world.examine_tpm, [tpm_world.trustee()]),
        "quote": (tpm_structures.quote, [tpm_world.message()]),
        "tpm signature": (tpm_structures.signature, [tpm_world.tpmt_signature(bytes(256))]),
        "tpm key": (tpm_structures.attestation_key, [tpm_world.tpmt_public()]),
        "event log": (lambda data: tcg_log.replay(tcg_log.parse(data), 0x000B), [log]),
        "azure": (tpm_world.examine_azure, [tpm_world.azure()]),
        "azure report": (lambda data: azure_vtpm._hcl(1, tpm_world.url(data), 2), [tpm_world.hcl()]),
        "azure runtime": (lambda data: azure_vtpm._attestation_key(azure_vtpm._runtime(data)), [runtime]),
        "gce": (
            gcp_vtpm_examine,
            [tpm_world.gce(tpm_world.gce_quote(pcrs=[tpm_world.replayed(b"event")] * 4 + tpm_world.PCRS[4:]), log=log)],
        ),
        "protobuf": (protobuf.fields, [tpm_world.gce()]),
        "token": (lambda data: jwt.payload(data, oidc.jwks()), [oidc.token()]),
        "key set": (lambda data: jwt.payload(oidc.token(), data), [oidc.jwks()]),
        "token claims": (gcp_oidc._token, [json.dumps(oidc.claims()).encode()]),
        "nvidia": (nvidia_world.examine, [nvidia_world.report()]),
        "nvidia chain": (
            lambda data: nvidia.examine(nvidia_world.report(), {"chain": data}, nvidia_world.roots(), pki.NOW),
            [nvidia_world.chain()],
        ),
        "spdm": (lambda data: nvidia.vbios_version(spdm.parse(data)), [spdm_bytes]),
        "rim": (lambda data: rim.read(data, nvidia_world.roots(), pki.NOW), rims),
        "xml": (lambda data: xmlc14n.canonical(xmlc14n.parse(data)), rims),
    }


def gcp_vtpm_examine(data: bytes) -> object:
    return gcp_vtpm.examine(data, {}, (), pki.NOW)


def _whole_der(data: bytes) -> None:
    """Walk everything: each element, and the inside of each constructed one."""
    waiting = [der.Der(data)]
    while waiting:
        reader = waiting.pop()
        while reader.more:
            node = reader.next()
            if node.tag & 0x20:
                waiting.append(der.Der(node.value))


def mutations(seeds: list[bytes], chosen: random.Random) -> Iterator[bytes]:
    """Yield changed seeds for ever: bytes and bits, lengths, cuts, repeats, splices, and noise."""
    others = [seed for seed in seeds if seed]
    while True:
        data = bytearray(chosen.choice(others))
        for _ in range(chosen.choice((1, 1, 1, 2, 4, 16))):
            at = chosen.randrange(len(data) + 1)
            match chosen.randrange(9):
                case 0 if at < len(data):
                    data[at] = chosen.randrange(256)
                case 1 if at < len(data):
                    data[at] ^= 1 << chosen.randrange(8)
                case 2:
                    del data[at:]
                case 3:
                    del data[at : at + chosen.randrange(1, 40)]
                case 4:
                    data[at:at] = chosen.randbytes(chosen.randrange(1, 9))
                case 5:
                    data[at : at + 4] = chosen.choice(
                        (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0")
                    )
                case 6:
                    data[at:at] = data[at : at + chosen.randrange(1, 200)]
                case 7:
                    other = chosen.choice(others)
                    data[at:] = other[chosen.randrange(len(other)) :]
                case _:
                    data += chosen.randbytes(chosen.randrange(20))
            if not data:
                break
        yield bytes(data)
