"""The real vectors of the repository (``data/``), and those beside it where they are present."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cloister.attest import roots as packaged
from cloister.attest.evidence import RejectedError
from cloister.attest.tee import manifest as manifests
from cloister.attest.tee.examined import Examined, Roots
from cloister.attest.tee.formats import FORMATS, Format
from cloister.attest.tee.manifest import Case, Manifest
from cloister.reviewer import vectors

DATA = Path(__file__).parent / "data"
_ROOT = Path(__file__).parents[2]
BESIDE = (
    next(
        (folder for folder in (_ROOT.parent / "shared", _ROOT.parents[1] / "shared") if (folder / "evidence").is_dir()),
        _ROOT.parent / "shared",
    )
    / "evidence"
)


@functools.cache
def manifest(base: Path = DATA) -> Manifest:
    return vectors.load(base / "MANIFEST.json")


@dataclass(frozen=True)
class Vector:
    """One case with its bytes, ready to be examined or tampered with."""

    case: Case
    known: Format
    blob: bytes
    endorsements: dict[str, bytes]
    roots: Roots
    now: datetime

    def examine(self, **changes: object) -> Examined:
        changed = replace(self, **changes)
        return self.known.examine(changed.blob, changed.endorsements, changed.roots, changed.now)

    def code(self, **changes: object) -> str:
        """Return the reason code of a refusal, or the verdict."""
        try:
            return self.examine(**changes).verdict
        except RejectedError as error:
            return error.code


@functools.cache
def vector(name: str, base: Path = DATA) -> Vector:
    case = next(case for case in manifest(base).vectors if case.id == name)
    known = FORMATS[case.tee, case.format]
    endorsements = {}
    if case.endorsements:
        endorsements[known.endorsement] = (base / case.endorsements).read_bytes()
    if case.event_log:
        endorsements[known.event_log] = (base / case.event_log).read_bytes()
    roots = tuple(certificate for vendor in known.vendors for certificate in packaged.of(vendor))
    blob = (base / case.evidence).read_bytes()
    return Vector(case, known, blob, endorsements, roots, manifests.time_of(case, manifest(base)))


def flips(data: bytes, step: int, start: int = 0, mask: int = 0xFF) -> Iterator[tuple[int, bytes]]:
    """Yield (position, data with that byte changed), for every ``step``-th byte."""
    for position in range(start, len(data), step):
        changed = bytearray(data)
        changed[position] ^= mask
        yield position, bytes(changed)
