"""Readers of hardware evidence under mutation: they refuse with a listed code, and raise nothing else."""

from __future__ import annotations

import random

import pytest
from reader_seeds import Reader, mutations, readers

from cloister.attest.evidence import RejectedError
from cloister.attest.tee.codes import CODES

IN_CI, IN_NIGHTLY = 2_000, 1_000_000


@pytest.fixture(scope="module")
def targets() -> dict[str, tuple[Reader, list[bytes]]]:
    return readers()


def test_every_reader_accepts_its_seeds(targets: dict[str, tuple[Reader, list[bytes]]]) -> None:
    """A seed that is refused at the door would make the fuzzing below say nothing."""
    for read, seeds in targets.values():
        for seed in seeds:
            read(seed)


def _fuzz(targets: dict[str, tuple[Reader, list[bytes]]], total: int, seed: int) -> int:
    refused = 0
    for name, (read, seeds) in targets.items():
        stream = mutations(seeds, random.Random(f"{seed} {name}"))
        for _ in range(total // len(targets) + 1):
            data = next(stream)
            try:
                read(data)
            except RejectedError as error:
                assert error.code in CODES, (name, error.code, data.hex())
                assert "unlisted code" not in error.reason, (name, error.reason)
                refused += 1
            except Exception as error:  # noqa: BLE001
                pytest.fail(f"{name}: {type(error).__name__}: {error} on {data.hex()}")
    return refused


def test_no_reader_raises_anything_but_a_listed_refusal(targets: dict[str, tuple[Reader, list[bytes]]]) -> None:
    assert _fuzz(targets, IN_CI, 20261128) > IN_CI // 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_reader_raises_anything_but_a_listed_refusal_in_a_million(
    targets: dict[str, tuple[Reader, list[bytes]]],
) -> None:
    assert _fuzz(targets, IN_NIGHTLY, 1) > IN_NIGHTLY // 2


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64, 1 << 17])
def test_empty_short_and_huge_input_is_refused(targets: dict[str, tuple[Reader, list[bytes]]], size: int) -> None:
    for name, (read, _) in targets.items():
        for fill in (b"\0", b"\xff", b"0", b"a"):
            try:
                read(fill * size)
            except RejectedError as error:
                assert error.code in CODES
            else:
                # Nothing is a message without fields, zeros are a DER element, a letter may be an item or a field.
                assert name in ("cbor", "der", "protobuf")
