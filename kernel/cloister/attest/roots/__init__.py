"""The vendors' root certificates, packaged and pinned by the SHA-256 of their DER bytes.

A root whose bytes are not the pinned ones is not loaded: a changed file fails every verification. ``docs/evidence.md``
lists fingerprints and sources. ``anchor`` is False for intermediate certificates that vendors publish beside a root;
they help to complete a path and end none.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files

import msgspec

from cloister.attest.tee import x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.x509 import Certificate


class Pinned(msgspec.Struct, frozen=True):
    """One packaged certificate: vendor, product, its place in its file, SHA-256 of its DER bytes, where to fetch it."""

    vendor: str
    name: str
    file: str
    place: int
    sha256: str
    anchor: bool
    source: str


_AMD = "https://kdsintf.amd.com/{}/v1/{}/cert_chain"
PINNED: tuple[Pinned, ...] = (
    Pinned("intel", "SGX Root CA", "intel_sgx_root_ca.pem", 0,
           "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3", anchor=True,
           source="https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.pem"),
    Pinned("amd-milan", "ASK", "amd_milan_ask_ark_asvk.pem", 0,
           "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b", anchor=False,
           source=_AMD.format("vcek", "Milan")),
    Pinned("amd-milan", "ARK", "amd_milan_ask_ark_asvk.pem", 1,
           "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd", anchor=True,
           source=_AMD.format("vcek", "Milan")),
    Pinned("amd-milan", "ASVK", "amd_milan_ask_ark_asvk.pem", 2,
           "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5", anchor=False,
           source=_AMD.format("vlek", "Milan")),
    Pinned("amd-genoa", "ASK", "amd_genoa_ask_ark_asvk.pem", 0,
           "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521", anchor=False,
           source=_AMD.format("vcek", "Genoa")),
    Pinned("amd-genoa", "ARK", "amd_genoa_ask_ark_asvk.pem", 1,
           "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1", anchor=True,
           source=_AMD.format("vcek", "Genoa")),
    Pinned("amd-genoa", "ASVK", "amd_genoa_ask_ark_asvk.pem", 2,
           "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372", anchor=False,
           source=_AMD.format("vlek", "Genoa")),
    Pinned("amd-turin", "ASK", "amd_turin_ask_ark_asvk.pem", 0,
           "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185", anchor=False,
           source=_AMD.format("vcek", "Turin")),
    Pinned("amd-turin", "ARK", "amd_turin_ask_ark_asvk.pem", 1,
           "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a", anchor=True,
           source=_AMD.format("vcek", "Turin")),
    Pinned("amd-turin", "ASVK", "amd_turin_ask_ark_asvk.pem", 2,
           "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c", anchor=False,
           source=_AMD.format("vlek", "Turin")),
    Pinned("aws", "Nitro Enclaves Root G1", "aws_nitro_root_g1.pem", 0,
           "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b", anchor=True,
           source="https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip"),
    Pinned("nvidia", "Device Identity CA", "nvidia_device_root.pem", 0,
           "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48", anchor=True,
           source="https://github.com/NVIDIA/nvtrust (verifier_device_root.pem)"),
    Pinned("nvidia", "CoRIM signing Root CA", "nvidia_rim_root.pem", 0,
           "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1", anchor=True,
           source="https://github.com/NVIDIA/nvtrust (verifier_RIM_root.pem)"),
)  # fmt: skip


@functools.cache
def of(vendor: str) -> tuple[Certificate, ...]:
    """Return the packaged certificates of a vendor (``intel``, ``amd-milan``, ...), anchors and helpers, or none.

    Raises:
        RejectedError: ``evidence.chain``: a packaged file was changed.
    """
    return tuple(_load(pin) for pin in PINNED if pin.vendor == vendor)


def anchors(certificates: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
    """Return those of ``certificates`` at which a path may end: pinned here, and anchors."""
    ends = {pin.sha256 for pin in PINNED if pin.anchor}
    return tuple(each for each in certificates if hashlib.sha256(each.raw).hexdigest() in ends)


def is_pinned(certificate: Certificate) -> bool:
    """Say whether a certificate is one of the packaged ones, byte for byte."""
    return hashlib.sha256(certificate.raw).hexdigest() in {pin.sha256 for pin in PINNED}


def _load(pin: Pinned) -> Certificate:
    text = (files("cloister.attest.roots") / pin.file).read_bytes()
    found = x509.parse_pem(text)
    if pin.place >= len(found) or hashlib.sha256(found[pin.place].raw).hexdigest() != pin.sha256:
        raise rejected("evidence.chain", f"the packaged certificate {pin.vendor} {pin.name} is not the pinned one")
    return found[pin.place]
