"""NVIDIA GPUs in confidential mode: signed SPDM measurements, the device's chain, and NVIDIA's reference values.

Evidence: request and response in hex (``spdm``). Endorsements: ``chain`` (PEM, leaf first), which must lead to NVIDIA's
device root; ``driver_rim`` and ``vbios_rim`` (SWID tags). Both manifests, of this driver and firmware, with every
active measurement equal, make the verdict ``verified``; without them it is ``references_missing``. The nonce of the
request has 32 bytes: ``carriers.gpu_nonce``. Rules of comparison: NVIDIA/nvtrust, local_gpu_verifier. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA384

from cloister.attest import roots as packaged
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import carriers, rim, signatures, spdm, tpm, x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, check_size
from cloister.attest.tee.rim import Rim
from cloister.attest.tee.spdm import Measurements

TEE = "nvidia-gpu"
FORMAT = "spdm_1.1 GET_MEASUREMENTS hex"
VENDORS = ("nvidia",)
CHAIN, DRIVER_RIM, VBIOS_RIM = "chain", "driver_rim", "vbios_rim"
ROOT_NAME = "NVIDIA Device Identity CA"
MAX_REPORT = 32 * 1024
MAX_CHAIN = 32 * 1024
# Types of opaque fields.
_DRIVER, _VBIOS, _NVDEC0, _FWID = 3, 6, 11, 20
# Measurement 35 is of the video decoder; where that is switched off there is nothing to compare.
_NVDEC0_INDEX, _NVDEC0_OFF = 35, b"\x55"
# DICE TcbInfo of the leaf (TCG OID 2.23.133.5.4.1): its last 48 bytes are the firmware's digest.
_TCB_INFO, _FWID_BYTES = "2.23.133.5.4.1", 48


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of a GPU that was asked with this exchange's nonce.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    blob = blob_of(evidence, TEE, (FORMAT,), MAX_REPORT)
    examined = examine(blob, endorsements, packaged.of("nvidia"), now)
    return carriers.conclude_carried(examined, binding, carriers.gpu_nonce(binding))


def examine(blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what a GPU's measurements say.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    # 1. Size, hex, structure.
    check_size(blob, MAX_REPORT)
    report = spdm.parse(tpm.hex_bytes(blob.removesuffix(b"\n").decode("latin-1")))
    # 2. The chain leads to the root of devices (never to the one of manifests), and is valid now.
    if CHAIN not in endorsements:
        raise rejected("endorsements.missing", "the GPU's certificate chain")
    check_size(endorsements[CHAIN], MAX_CHAIN, "endorsements.oversize")
    chain = x509.parse_pem(endorsements[CHAIN])
    anchors = tuple(root for root in roots if x509.common_name(root.subject) == ROOT_NAME)
    window = x509.check_chain(chain, anchors, now)
    # 3. The leaf's key signed request and response, and the firmware it was made for is the one that answers.
    key = signatures.ec_key(chain[0].spki)
    signatures.ecdsa(key, report.signature, report.signed, SHA384(), signatures.P384)
    firmware = _firmware(chain[0])
    if not firmware or firmware != report.opaque.get(_FWID):
        raise rejected("evidence.claims", "the GPU answers for other firmware than its certificate names")
    # 4. The measurements are those NVIDIA lists for this driver and this firmware, if its lists were given.
    rims = {name: rim.read(endorsements[name], roots, now) for name in (DRIVER_RIM, VBIOS_RIM) if name in endorsements}
    compared = compare(report, rims)
    for each in rims.values():
        window = window.narrow(each.window)
    return Examined(
        tee=TEE,
        format=FORMAT,
        verdict="verified" if len(rims) == 2 else "references_missing",
        debug=False,
        report_data=report.nonce.hex(),
        launch={f"measurement{index - 1}": value.hex() for index, value in sorted(report.values.items())},
        signer=f"chip:{_serial(chain)}",
        details={
            "nonce": report.nonce.hex(),
            "driver": driver_version(report),
            "vbios": vbios_version(report),
            "compared": compared,
        },
        warnings=("revocation: unchecked (NVIDIA's OCSP responder was not asked)",),
        not_before=window.not_before,
        not_after=window.not_after,
    )


def compare(report: Measurements, rims: Mapping[str, Rim]) -> int:
    """Compare measurements with manifests of the same driver and firmware; return how many there were to compare.

    Raises:
        RejectedError: ``endorsements.mismatch`` (manifest of another version, two for one measurement) or
            ``references.mismatch`` (a measurement that is not listed).
    """
    versions = {DRIVER_RIM: driver_version(report), VBIOS_RIM: vbios_version(report)}
    good: dict[int, frozenset[bytes]] = {}
    for name, each in rims.items():
        if each.version.lower() != versions[name].lower():
            raise rejected("endorsements.mismatch", f"a manifest of {each.version}; the GPU runs {versions[name]}")
        if set(good) & set(each.good):
            raise rejected("endorsements.mismatch", "two manifests that list one measurement")
        good |= each.good
    if report.opaque.get(_NVDEC0) == _NVDEC0_OFF:
        good.pop(_NVDEC0_INDEX, None)
    wrong = differing(report, good)
    if wrong:
        raise rejected("references.mismatch", f"{len(wrong)} of {len(good)} measurements are not those NVIDIA lists")
    return len(good)


def differing(report: Measurements, good: Mapping[int, frozenset[bytes]]) -> list[int]:
    """Return the indices (from 0) whose measurement is missing or none of the good values."""
    return sorted(index for index, values in good.items() if report.values.get(index + 1) not in values)


def driver_version(report: Measurements) -> str:
    """Return the driver's version as the GPU reports it ("" if it does not)."""
    text = report.opaque.get(_DRIVER, b"").rstrip(b"\0")
    if not all(0x20 < byte < 0x7F for byte in text):
        raise rejected("evidence.malformed", "a driver version that is no text")
    return text.decode("ascii")


def vbios_version(report: Measurements) -> str:
    """Return the firmware's version as NVIDIA writes it: ``96.00.9F.00.01`` ("" if the GPU does not report one)."""
    data = report.opaque.get(_VBIOS, b"")
    if not data:
        return ""
    if len(data) != 8:
        raise rejected("evidence.malformed", "a firmware version that is not 8 bytes")
    return ".".join(f"{byte:02X}" for byte in (*data[3::-1], data[4]))


def _firmware(leaf: x509.Certificate) -> bytes:
    _, value = leaf.extensions.get(_TCB_INFO, (False, b""))
    return value[-_FWID_BYTES:] if len(value) > _FWID_BYTES else b""


def _serial(chain: tuple[x509.Certificate, ...]) -> str:
    # The certificate above the firmware's is burnt into the device; its serial number is the device's.
    return f"{chain[min(1, len(chain) - 1)].serial:x}"
