"""docs/evidence.md publishes the closed lists; the packaged roots are the pinned ones."""

from __future__ import annotations

import hashlib
import tomllib
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest

from cloister.attest import roots
from cloister.attest.evidence import RejectedError
from cloister.attest.tee import manifest, x509
from cloister.attest.tee.codes import CODES, VERDICTS, rejected

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")


def test_every_verdict_code_and_root_is_published() -> None:
    for table in (VERDICTS, CODES):
        for name, meaning in table.items():
            assert f"| `{name}` | {meaning} |" in TEXT
    for pin in roots.PINNED:
        assert (
            f"| {pin.vendor} | {pin.name} | {'yes' if pin.anchor else 'no'} | `{pin.sha256}` | {pin.source} |" in TEXT
        )
    for word, (verdict, _) in manifest.WORDS.items():
        assert f"| `{word}` | `{verdict}`" in TEXT
    for pattern, codes in manifest.REASONS:
        assert f"| `{pattern}` | {', '.join(f'`{code}`' for code in codes)} |" in TEXT


def test_no_code_outside_the_list_is_raised() -> None:
    assert rejected("made.up", "x").code == "evidence.malformed"
    assert rejected("tcb.fmspc", "x").code == "tcb.fmspc"


def test_the_packaged_roots_are_the_pinned_ones_and_nothing_else() -> None:
    shipped = {entry.name for entry in files("cloister.attest.roots").iterdir() if entry.name.endswith(".pem")}
    assert shipped == {pin.file for pin in roots.PINNED}
    for vendor in {pin.vendor for pin in roots.PINNED}:
        found = {hashlib.sha256(certificate.raw).hexdigest() for certificate in roots.of(vendor)}
        assert found == {pin.sha256 for pin in roots.PINNED if pin.vendor == vendor}
    for name in shipped:
        # No certificate in a file without a pin.
        count = len(x509.parse_pem((files("cloister.attest.roots") / name).read_bytes()))
        assert count == sum(pin.file == name for pin in roots.PINNED)


def test_a_changed_root_is_not_loaded() -> None:
    pin = next(pin for pin in roots.PINNED if pin.vendor == "intel")
    other = next(pin for pin in roots.PINNED if pin.vendor == "aws")
    with pytest.raises(RejectedError) as excinfo:
        roots._load(roots.msgspec.structs.replace(pin, file=other.file))
    assert excinfo.value.code == "evidence.chain"
    with pytest.raises(RejectedError):
        roots._load(roots.msgspec.structs.replace(pin, place=1))


def test_intermediate_certificates_are_no_anchors() -> None:
    milan = roots.of("amd-milan")
    assert [x509.common_name(each.subject) for each in roots.anchors(milan)] == ["ARK-Milan"]
    assert all(map(roots.is_pinned, milan))


def test_every_verifier_that_is_declared_can_be_called() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["cloister.verifiers"]
    for target in declared.values():
        module, name = target.split(":")
        assert callable(getattr(import_module(module), name))
