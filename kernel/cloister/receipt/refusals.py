"""Refusals that an enclave makes by itself, as it tells them to a broker: a closed set of codes, and nothing asked.

What is refused before a broker is asked to charge would be in no log of a provider. So the vault tells each broker
concerned the code, the asker and the digest of the question; never a text, never a constant of the plan. Only codes
that follow from signed documents, the plan and the broker's clock are in the set: a *fault* (G3) is never told, and
neither is a suspended vault, for what made it so may depend on data. What is wrong with a capsule is told to the broker
of its own provider alone.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

MOST_TOLD = 64
"""Refusals in one message."""
MOST_AGE_S = 10_000_000
Op = Literal["open", "price", "release", "capsule"]

QUESTION_CODES = frozenset(
    {
        "approval.broker", "approval.expired",
        "contract.access", "contract.access-time", "contract.algorithm", "contract.analyst", "contract.expired",
        "contract.export", "contract.no-budget", "contract.not-yet-valid", "contract.operation", "contract.purpose",
        "contract.rows", "contract.screened", "contract.simulated", "contract.source", "contract.tier",
        "exit.deliver", "exit.match", "exit.receiver",
        "limit.compute", "limit.match", "limit.models", "limit.releases", "limit.rows",
        "match.hashed", "plan.table", "plan.unit",
    }
)  # fmt: skip
"""Of questions: what the contract, an approval, an access right, a tier or a limit does not allow."""
OPENING_CODES = frozenset({"contract.purpose"})
"""Of sessions that a named analyst was refused. Who is not named is a stranger to the enclave, and told to nobody."""
CAPSULE_CODES = frozenset(
    {
        "capsule.card", "capsule.duplicate", "capsule.key", "capsule.layout", "capsule.load", "capsule.manifest",
        "capsule.missing", "capsule.part", "capsule.provider", "capsule.schema", "capsule.version",
        "signature.base64", "signature.invalid", "signature.missing", "signature.nobody", "signature.type",
    }
)  # fmt: skip
CODES: dict[str, frozenset[str]] = {
    "open": OPENING_CODES, "price": QUESTION_CODES, "release": QUESTION_CODES, "capsule": CAPSULE_CODES,
}  # fmt: skip
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One refusal, or ``count`` like it that are told together (without a question).

    ``analyst`` is a did that the contract names, or empty; ``table`` is that of a capsule; ``plan`` is the digest of
    the plan, empty for exits, whose plans may name who is asked about. ``age_s`` is how long ago it was, in seconds.
    """

    op: Op
    code: str
    analyst: str = ""
    table: str = ""
    plan: str = ""
    age_s: int = 0
    count: int = 1

    @property
    def usable(self) -> bool:
        """Whether it says only what a refusal may say."""
        known = self.code in CODES[self.op] and (not self.plan or _DIGEST.fullmatch(self.plan) is not None)
        return known and 0 <= self.age_s <= MOST_AGE_S and self.count >= 1


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message of refusals. Vaults number them, so that one whose answer got lost is not written twice."""

    number: int
    refused: Annotated[tuple[Refused, ...], msgspec.Meta(max_length=MOST_TOLD)]
