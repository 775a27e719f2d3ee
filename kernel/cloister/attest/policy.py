"""Appraisal policies: what one relying party accepts, written in TOML and named by the digest of its bytes.

.. code-block:: toml

    name = "demo"
    version = 1

    [accept]
    tees = ["simulator"]            # names of cloister.verifiers
    simulated = true                # false unless said; the contract and the person must say it too
    exclusive = false               # hardware must have been started for this contract and no other

    [reference]
    env_digest = ["sha384:..."]     # approved code; an empty list approves nothing
    launch = []                     # approved launch measurements, "name=value"; docs/evidence.md says which
    denied = []                     # launch measurements that are never accepted
    covers_code = false             # the launch measurements cover the code that computes env_digest

    [instance]
    allow = ["did:key:..."]         # signers or chips by name; empty: any (and never affirming)

    [isolation]
    minimum = "reduced"             # none, reduced or full: what must isolate the sandbox

    [hardware]
    tcb_status = ["UpToDate"]       # words of the vendor that affirm a platform (Intel)
    advisories = []                 # advisories that may be open at such a status
    evaluation = 17                 # the oldest collateral, by tcbEvaluationDataNumber; unless said, Intel's warns
    minimum_tcb.Milan = { bl = 4, tee = 0, snp = 24, ucode = 219 }   # least versions by product, all of them (AMD)
    vmpl = 0                        # the highest privilege level number that may report (AMD)
    hwmodel = ["GCP_INTEL_TDX"]     # hardware that a token of Confidential Space may name
    audience = []                   # audiences its token may be made for; empty: none (Confidential Space)
    warnings = []                   # warnings of a verifier that are accepted, word for word
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from cloister.errors import MalformedError
from cloister.wire import canonical

MAX_POLICY = 64 * 1024
_VERSIONS = frozenset({"bl", "tee", "snp", "ucode"})
COMPONENTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"Milan": _VERSIONS, "Genoa": _VERSIONS, "Turin": _VERSIONS | {"fmc"}}
)
"""By product of AMD, the components that have a security version (AMD 56860, TCB_VERSION)."""


class Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which TEEs are accepted at all, and how."""

    tees: tuple[str, ...]
    simulated: bool = False
    exclusive: bool = False


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Approved code and launch measurements."""

    env_digest: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    covers_code: bool = False


class Instance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Allowed hosts."""

    allow: tuple[str, ...] = ()


class Isolation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must isolate the sandbox."""

    minimum: Literal["none", "reduced", "full"] = "none"


class Hardware(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a platform must be, beyond genuine."""

    tcb_status: tuple[str, ...] = ("UpToDate",)
    advisories: tuple[str, ...] = ()
    evaluation: int = 0
    minimum_tcb: dict[str, dict[str, int]] = {}
    vmpl: int = 0
    hwmodel: tuple[str, ...] = ("GCP_INTEL_TDX",)
    audience: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One relying party's policy; sections as in the module's example."""

    name: str
    accept: Accept
    reference: Reference = Reference()
    instance: Instance = Instance()
    isolation: Isolation = Isolation()
    hardware: Hardware = Hardware()
    version: int = 1


def parse_policy(text: str) -> Policy:
    """Return the policy written in ``text``.

    Raises:
        MalformedError: Not TOML, an unknown key, a wrong type or version, or too long.
    """
    if len(text) > MAX_POLICY:
        raise MalformedError("policy.malformed", "the policy is too long")
    try:
        table: dict[str, Any] = tomllib.loads(text)
        policy = msgspec.convert(table, type=Policy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise MalformedError("policy.malformed", f"the policy cannot be read: {error}") from error
    check_policy(policy)
    return policy


def check_policy(policy: Policy) -> None:
    """Check what the schema cannot say.

    Raises:
        MalformedError: ``policy.malformed``.
    """
    if policy.version != 1:
        raise MalformedError("policy.malformed", f"policy version {policy.version} is unknown")
    for product, least in policy.hardware.minimum_tcb.items():
        # A component without a least version would be one that may be as old as it likes.
        if product not in COMPONENTS or set(least) != COMPONENTS[product]:
            raise MalformedError(
                "policy.malformed",
                f"hardware.minimum_tcb.{product}: least versions are those of all components of one product",
                next_step="docs/evidence.md, section What a policy decides about hardware",
            )


def policy_digest(text: str) -> str:
    """Return ``sha256:<hex>`` of the policy's UTF-8 bytes: what a contract pins per party."""
    return canonical.digest_bytes(text.encode())


def write_policy(
    name: str,
    *,
    tees: tuple[str, ...],
    simulated: bool,
    env_digests: tuple[str, ...],
    instances: tuple[str, ...] = (),
    isolation: str = "none",
) -> str:
    """Return a policy as TOML text (for ``connect`` and the demo)."""

    def array(values: tuple[str, ...]) -> str:
        return "[" + ", ".join(_quote(value) for value in values) + "]"

    return (
        f"name = {_quote(name)}\nversion = 1\n\n"
        f"[accept]\ntees = {array(tees)}\nsimulated = {str(simulated).lower()}\n\n"
        f"[reference]\nenv_digest = {array(env_digests)}\n\n"
        f"[instance]\nallow = {array(instances)}\n\n"
        f"[isolation]\nminimum = {_quote(isolation)}\n"
    )


def _quote(text: str) -> str:
    # A JSON string without non-ASCII is also a TOML basic string.
    return msgspec.json.encode(text).decode()
