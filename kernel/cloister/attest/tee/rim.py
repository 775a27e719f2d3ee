"""NVIDIA's reference integrity manifests: SWID tags with an enveloped XML signature, and what they list.

Format: TCG, "Reference Integrity Manifest Information Model", and NVIDIA/nvtrust; signature: W3C XML Signature with
the one combination NVIDIA uses (Canonical XML 1.1, SHA-384, ECDSA on P-384). The certificates in the signature must
lead to NVIDIA's root for manifests, which signs nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA384

from cloister.attest.tee import signatures, x509, xmlc14n
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Roots, check_size
from cloister.attest.tee.xmlc14n import Element

AREA = "endorsements"
ROOT_NAME = "NVIDIA CoRIM signing Root CA"
MAX_RIM = 128 * 1024
_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_C14N = "http://www.w3.org/2006/12/xml-c14n11"
_SHA384_HASH = "http://www.w3.org/2001/04/xmlenc#sha384"
_ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_DIGEST = "http://www.w3.org/2001/04/xmldsig-more#sha384"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_HEX = re.compile(r"[0-9a-f]{96}")


class Rim(NamedTuple):
    """A manifest: the version it is about, and the good values of its active measurements by index (from 0)."""

    version: str
    product: str
    good: dict[int, frozenset[bytes]]
    window: x509.Window


def read(data: bytes, roots: Roots, now: datetime) -> Rim:
    """Return a manifest after checking its signature and chain.

    Raises:
        RejectedError: ``endorsements.*`` or ``evidence.algorithm``.
    """
    # 1. XML of a closed dialect, with one signature: a child of the root element, nowhere else.
    check_size(data, MAX_RIM, f"{AREA}.oversize")
    root = xmlc14n.parse(data)
    if (root.namespace, root.local) != (_SWID, "SoftwareIdentity"):
        raise rejected(f"{AREA}.malformed", "not a reference integrity manifest")
    signature = root.child(_DSIG, "Signature")
    if [each for each in root.walk() if (each.namespace, each.local) == (_DSIG, "Signature")] != [signature]:
        raise rejected(f"{AREA}.malformed", "a manifest with a second signature")
    # 2. The certificates lead to the root for manifests, valid now.
    certificates = [x509.parse(_base64(each.text()), AREA) for each in _certificates(signature)]
    anchors = tuple(each for each in roots if x509.common_name(each.subject, AREA) == ROOT_NAME)
    window = x509.check_chain(certificates, anchors, now, AREA)
    # 3. The signature covers the whole document but itself, with the one combination of algorithms.
    info = signature.child(_DSIG, "SignedInfo")
    _check_algorithms(info)
    digest = hashlib.sha384(xmlc14n.canonical(root, without=signature)).digest()
    if digest != _base64(info.child(_DSIG, "Reference").child(_DSIG, "DigestValue").text()):
        raise rejected(f"{AREA}.signature", "the manifest is not the one that was signed")
    key = signatures.ec_key(certificates[0].spki, AREA)
    value = _base64(signature.child(_DSIG, "SignatureValue").text())
    signatures.ecdsa(key, value, xmlc14n.canonical(info), SHA384(), signatures.P384, code=f"{AREA}.signature")
    return Rim(root.child(_SWID, "Meta").attribute("colloquialVersion"), root.attribute("name"), _good(root), window)


def _check_algorithms(info: Element) -> None:
    reference = info.child(_DSIG, "Reference")
    transforms = [each.attribute("Algorithm") for each in reference.child(_DSIG, "Transforms").elements()]
    found = (
        info.child(_DSIG, "CanonicalizationMethod").attribute("Algorithm"),
        info.child(_DSIG, "SignatureMethod").attribute("Algorithm"),
        reference.child(_DSIG, "DigestMethod").attribute("Algorithm"),
    )
    if found != (_C14N, _ECDSA_SHA384, _DIGEST) or transforms != [_ENVELOPED, _C14N]:
        raise rejected("evidence.algorithm", "a manifest signed with other algorithms or transforms")
    # The empty reference is the whole document; anything else could point at a part of it.
    if reference.attribute("URI") != "" or ("", "URI") not in reference.attributes:
        raise rejected(f"{AREA}.signature", "a signature that does not cover the whole manifest")


def _good(root: Element) -> dict[int, frozenset[bytes]]:
    good: dict[int, frozenset[bytes]] = {}
    seen: set[int] = set()
    for resource in root.child(_SWID, "Payload").elements():
        index, count = resource.attribute("index"), resource.attribute("alternatives")
        if resource.attribute("type") != "Measurement" or not _small(index) or not _small(count):
            raise rejected(f"{AREA}.malformed", "a resource that is no measurement")
        if int(index) in seen:
            raise rejected(f"{AREA}.malformed", "a measurement that is listed twice")
        seen.add(int(index))
        values = [resource.attribute(f"Hash{each}", _SHA384_HASH) for each in range(int(count))]
        if not values or resource.attribute("size") != "48" or not all(map(_HEX.fullmatch, values)):
            raise rejected(f"{AREA}.malformed", "a measurement that is not SHA-384 in hex")
        if resource.attribute("active") not in ("True", "False"):
            raise rejected(f"{AREA}.malformed", "a measurement that is neither active nor not")
        if resource.attribute("active") == "True":
            good[int(index)] = frozenset(map(bytes.fromhex, values))
    return good


def _certificates(signature: Element) -> list[Element]:
    data = signature.child(_DSIG, "KeyInfo").child(_DSIG, "X509Data").elements()
    if not data or any((each.namespace, each.local) != (_DSIG, "X509Certificate") for each in data):
        raise rejected(f"{AREA}.malformed", "a signature with something else than certificates")
    return data


def _small(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise rejected(f"{AREA}.malformed", "a field that is not base64") from error
