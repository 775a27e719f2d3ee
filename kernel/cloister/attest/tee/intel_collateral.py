"""Intel's collateral for DCAP: revocation lists, TCB information (v3) and QE identity (v2), each checked by itself.

The bundle is the JSON object that the Intel PCS answers are usually kept in (``QuoteCollateralV3``): PEM chains, hex
of DER lists, and the two JSON bodies as text, because their signatures cover the exact bytes. Sources: Intel PCS API
v4; Intel's ``QuoteVerification`` (SGX DCAP QVL).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256

from cloister.attest.tee import crl, signatures, x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.crl import RevocationList
from cloister.attest.tee.x509 import Certificate, Window

MAX_COLLATERAL = 4 << 20
TCB_SIGNER = "Intel SGX TCB Signing"
_AREA = "endorsements"
_T = TypeVar("_T")
Svn = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Status = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
]


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The collateral as it is kept; ``*_crl`` and ``*_signature`` are hex."""

    pck_crl_issuer_chain: str
    root_ca_crl: str
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: str
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: str


class Component(msgspec.Struct, frozen=True):
    """One of sixteen component versions."""

    svn: Annotated[int, msgspec.Meta(ge=0, le=0xFF)]


Components = Annotated[tuple[Component, ...], msgspec.Meta(min_length=16, max_length=16)]


class PlatformTcb(msgspec.Struct, frozen=True):
    """The versions a platform must at least have for a level."""

    sgxtcbcomponents: Components
    pcesvn: Svn
    tdxtcbcomponents: Components | None = None


class PlatformLevel(msgspec.Struct, frozen=True, rename="camel"):
    """One TCB level of a platform."""

    tcb: PlatformTcb
    tcb_date: str
    tcb_status: Status
    advisory_ids: tuple[str, ...] = msgspec.field(default=(), name="advisoryIDs")


class EnclaveTcb(msgspec.Struct, frozen=True):
    """The version an enclave or module must at least have for a level."""

    isvsvn: Svn


class EnclaveLevel(msgspec.Struct, frozen=True, rename="camel"):
    """One TCB level of the quoting enclave or the TDX module."""

    tcb: EnclaveTcb
    tcb_date: str
    tcb_status: Status
    advisory_ids: tuple[str, ...] = msgspec.field(default=(), name="advisoryIDs")


class TdxModule(msgspec.Struct, frozen=True, rename="camel"):
    """Signer and attributes of the TDX module, in hex."""

    mrsigner: str
    attributes: str
    attributes_mask: str


class TdxModuleIdentity(TdxModule, frozen=True, rename="camel"):
    """The same for one major version (``TDX_01``), with its levels."""

    id: str
    tcb_levels: tuple[EnclaveLevel, ...]


class TcbInfo(msgspec.Struct, frozen=True, rename="camel"):
    """TCB information of one platform model (FMSPC), version 3."""

    id: Literal["SGX", "TDX"]
    version: Literal[3]
    issue_date: str
    next_update: str
    fmspc: str
    pce_id: str
    tcb_type: Literal[0]
    tcb_evaluation_data_number: int
    tcb_levels: tuple[PlatformLevel, ...]
    tdx_module: TdxModule | None = None
    tdx_module_identities: tuple[TdxModuleIdentity, ...] = ()


class QeIdentity(msgspec.Struct, frozen=True, rename="camel"):
    """Identity of the quoting enclave, version 2; hex with masks."""

    id: Literal["QE", "TD_QE"]
    version: Literal[2]
    issue_date: str
    next_update: str
    tcb_evaluation_data_number: int
    miscselect: str
    miscselect_mask: str = msgspec.field(name="miscselectMask")
    attributes: str
    attributes_mask: str
    mrsigner: str
    isvprodid: Svn
    tcb_levels: tuple[EnclaveLevel, ...]


class Collateral(msgspec.Struct, frozen=True):
    """Collateral whose signatures, chains and times hold, and the window in which they do."""

    tcb_info: TcbInfo
    qe_identity: QeIdentity
    window: Window


def check(data: bytes, pck_chain: tuple[Certificate, ...], roots: tuple[Certificate, ...], now: datetime) -> Collateral:
    """Check a bundle for the platform of ``pck_chain`` (PCK certificate, its authority, the root).

    Raises:
        RejectedError: ``endorsements.*``, ``crl.*``, or ``evidence.revoked``: the platform's certificate is revoked.
    """
    bundle = _decoded(data, Bundle, "the collateral", limit=MAX_COLLATERAL)
    # 1. Who was revoked: the root's list for its authorities, the authority's list for the platform.
    pck, authority, root = pck_chain
    root_list, pck_list = (crl.parse(unhex(text)) for text in (bundle.root_ca_crl, bundle.pck_crl))
    for found in (root_list, pck_list):
        crl.check_time(found, now)
    crl.check_issuer(root_list, root)
    window = (
        _pck_list(bundle, pck_list, authority, root, roots, now=now).narrow(root_list.window).narrow(pck_list.window)
    )
    if pck.serial in pck_list.revoked or authority.serial in root_list.revoked:
        raise rejected("evidence.revoked", "Intel revoked the platform's certificate or its authority's")
    # 2. The two signed bodies, by Intel's TCB signing key and within their times.
    chain, window = _signer(bundle.tcb_info_issuer_chain, root_list, roots, now, window)
    tcb_info = _signed(bundle.tcb_info, bundle.tcb_info_signature, chain, TcbInfo)
    if bundle.qe_identity_issuer_chain != bundle.tcb_info_issuer_chain:
        chain, window = _signer(bundle.qe_identity_issuer_chain, root_list, roots, now, window)
    qe_identity = _signed(bundle.qe_identity, bundle.qe_identity_signature, chain, QeIdentity)
    for body in (tcb_info, qe_identity):
        window = window.narrow(_current(body, now))
    return Collateral(tcb_info, qe_identity, window)


class Standing(msgspec.Struct, frozen=True):
    """Collateral that holds by itself, before any platform is looked at, and what says how new each part is.

    ``marks`` are Intel's evaluation numbers, the lists' numbers and the times of issue (seconds since 1970).
    """

    tee: str
    fmspc: str
    window: Window
    marks: dict[str, int]


def standing(data: bytes, roots: tuple[Certificate, ...], now: datetime) -> Standing:
    """Check a bundle as far as it can be checked without a platform: chains, lists, signatures and times.

    Raises:
        RejectedError: ``endorsements.*`` or ``crl.*``.
    """
    bundle = _decoded(data, Bundle, "the collateral", limit=MAX_COLLATERAL)
    root_list, pck_list = (crl.parse(unhex(text)) for text in (bundle.root_ca_crl, bundle.pck_crl))
    for found in (root_list, pck_list):
        crl.check_time(found, now)
    chain = x509.parse_pem(bundle.pck_crl_issuer_chain.encode(), _AREA)
    window = x509.check_chain(chain, roots, now, _AREA).narrow(root_list.window).narrow(pck_list.window)
    crl.check_issuer(pck_list, chain[0])
    crl.check_issuer(root_list, chain[-1])
    if chain[0].serial in root_list.revoked:
        raise rejected("endorsements.revoked", "Intel revoked the authority of this revocation list")
    signer, window = _signer(bundle.tcb_info_issuer_chain, root_list, roots, now, window)
    tcb_info = _signed(bundle.tcb_info, bundle.tcb_info_signature, signer, TcbInfo)
    signer, window = _signer(bundle.qe_identity_issuer_chain, root_list, roots, now, window)
    qe_identity = _signed(bundle.qe_identity, bundle.qe_identity_signature, signer, QeIdentity)
    marks: dict[str, int] = {}
    for name, body in (("tcb_info", tcb_info), ("qe_identity", qe_identity)):
        window = window.narrow(_current(body, now))
        marks[f"{name}.tcbEvaluationDataNumber"] = body.tcb_evaluation_data_number
        marks[f"{name}.issueDate"] = int(_time(body.issue_date).timestamp())
    for name, listed in (("root_ca_crl", root_list), ("pck_crl", pck_list)):
        marks[f"{name}.number"] = listed.number or 0
        marks[f"{name}.thisUpdate"] = int(listed.this_update.timestamp())
    return Standing(tcb_info.id.lower(), tcb_info.fmspc.lower(), window, marks)


def _pck_list(
    bundle: Bundle,
    pck_list: RevocationList,
    authority: Certificate,
    root: Certificate,
    roots: tuple[Certificate, ...],
    *,
    now: datetime,
) -> Window:
    """Check that the platform's list is signed by the very key that signed the platform's certificate."""
    chain = x509.parse_pem(bundle.pck_crl_issuer_chain.encode(), _AREA)
    # Intel reissued its authorities' certificates: name and key must be the same, the bytes need not.
    if chain[0].subject != authority.subject or chain[0].spki != authority.spki or chain[1:] != (root,):
        raise rejected("endorsements.mismatch", "the revocation list is of another authority than the platform's")
    window = x509.check_chain(chain, roots, now, _AREA)
    crl.check_issuer(pck_list, chain[0])
    return window


def _signer(
    pem: str, root_list: RevocationList, roots: tuple[Certificate, ...], now: datetime, window: Window
) -> tuple[Certificate, Window]:
    chain = x509.parse_pem(pem.encode(), _AREA)
    window = window.narrow(x509.check_chain(chain, roots, now, _AREA))
    if len(chain) != 2 or x509.common_name(chain[0].subject, _AREA) != TCB_SIGNER:
        raise rejected("endorsements.chain", "not signed by Intel's TCB signing key")
    if chain[0].serial in root_list.revoked:
        raise rejected("endorsements.revoked", "Intel revoked the key that signed this collateral")
    return chain[0], window


def _signed(text: str, signature: str, signer: Certificate, kind: type[_T]) -> _T:
    key = signatures.ec_key(signer.spki, _AREA)
    data = text.encode()
    signatures.ecdsa(key, unhex(signature), data, SHA256(), signatures.P256, code="endorsements.signature")
    return _decoded(data, kind, kind.__name__, limit=MAX_COLLATERAL)


def _current(body: TcbInfo | QeIdentity, now: datetime) -> Window:
    window = Window(_time(body.issue_date), _time(body.next_update))
    if now < window.not_before:
        raise rejected("endorsements.not_yet_valid", f"{type(body).__name__} was issued on {body.issue_date}")
    if now > window.not_after:
        raise rejected("endorsements.expired", f"{type(body).__name__} ended on {body.next_update}")
    return window


def _decoded(data: bytes, kind: type[_T], what: str, *, limit: int) -> _T:
    if len(data) > limit:
        raise rejected("endorsements.oversize", f"{what} has {len(data)} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejected("endorsements.malformed", f"{what} cannot be read") from error


def unhex(text: str, size: int | None = None) -> bytes:
    """Return the bytes of hex ``text``: digits only, of one case or both.

    Raises:
        RejectedError: ``endorsements.malformed``.
    """
    if len(text) % 2 or (size is not None and len(text) != 2 * size) or not re.fullmatch(r"[0-9A-Fa-f]*", text):
        raise rejected("endorsements.malformed", "a field that is not hex, or of another length")
    return bytes.fromhex(text)


def _time(text: str) -> datetime:
    try:
        found = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise rejected("endorsements.malformed", "a time that is not written as YYYY-MM-DDTHH:MM:SSZ") from error
    return found
