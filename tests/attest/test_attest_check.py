"""``cloister attest check``: its words, its exit codes, and what a wrong manifest gets instead of a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tee_world import DATA
from typer.testing import CliRunner, Result

from cloister import cli
from cloister.attest.tee import manifest as manifests
from cloister.attest.tee.codes import CODES, VERDICTS
from cloister.errors import CloisterError

Case = dict[str, Any]


def check(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["attest", "check", *map(str, arguments)])


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {case["id"]: case for case in json.loads((DATA / "MANIFEST.json").read_text())["vectors"]}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a manifest of some cases into a folder with the data."""
    for name in ("tdx", "sgx", "roots", "ratls"):
        shutil.copytree(DATA / name, tmp_path / name)

    def write(*cases: Case, **fields: Any) -> Path:
        path = tmp_path / "MANIFEST.json"
        document = {"schema": 1, "generated": "2026-11-21", "vectors": list(cases), **fields}
        path.write_text(json.dumps(document))
        return path

    return write


def test_the_vectors_of_the_repository() -> None:
    result = check(DATA / "MANIFEST.json")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "sgx-phala-v3  verified  ok"
    assert "tdx-google-v4-wrong-fmspc  rejected tcb.fmspc  ok" in lines
    assert lines[-1] == f"{len(lines) - 1} of {len(lines) - 1} as expected"


def test_the_base_folder_can_be_elsewhere(tmp_path: Path) -> None:
    path = shutil.copy(DATA / "MANIFEST.json", tmp_path)
    assert check(path, "--base", DATA).exit_code == 0
    assert check(path).exit_code == 1


def test_at_another_time_it_is_another_verdict(cases: dict[str, Case], written: Callable[..., Path]) -> None:
    path = written(cases["tdx-phala-v4"])
    assert check(path, "--at", "2025-07-05").exit_code == 0
    result = check(path, "--at", "2025-08-05")
    assert result.exit_code == 1
    assert "rejected crl.expired  MISMATCH (verdict rejected, expected verified)" in result.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evidence": "tdx/none.quote"}, "error manifest.file  MISMATCH"),
        ({"evidence": "/etc/hostname"}, "error manifest.path"),
        ({"evidence": "tdx/../../x"}, "error manifest.path"),
        ({"evidence": "tdx"}, "error manifest.file"),
        ({"evidence": "tdx/\0"}, "error manifest.file"),
        ({"evidence_sha256": "0" * 64}, "error manifest.sha256"),
        ({"endorsements_sha256": "0" * 64}, "error manifest.sha256"),
        ({"endorsements_sha256": None}, "error manifest.malformed"),
        ({"format": "tdx_quote_v9"}, "error manifest.format"),
        ({"tee": "sev"}, "error manifest.format"),
        (
            {"tee": "sgx", "format": "sgx_quote_v3", "event_log": "tdx/phala_tdx_v4.quote"},
            "error manifest.endorsements",
        ),
        ({"roots": ["tdx/phala_tdx_v4.quote"]}, "error manifest.root"),
        ({"fmspc": "000000000000"}, "MISMATCH (fmspc"),
        ({"claims": {"mr_td": "00"}}, "MISMATCH (mr_td"),
        ({"claims": {"debug": True}}, "MISMATCH (debug"),
        ({"claims": {"colour": "red"}}, "MISMATCH (colour None"),
        ({"expect": {"verdict": "fine"}}, "in no list"),
        ({"expect": {"verdict": "rejected"}}, "MISMATCH (verdict 'verified', expected 'rejected'"),
        ({"expect": {"verdict": "endorsements_missing"}}, "MISMATCH (verdict"),
        ({"expect": {"verdict": "binding_ok_debug"}}, "MISMATCH (verdict"),
        ({"expect": {"verdict": "verified", "tcb_status": "OutOfDate"}}, "MISMATCH (tcb_status"),
        ({"expect": {"verdict": "verified", "tcb_status": None}}, "MISMATCH (tcb_status"),
        ({"expect": {"verdict": "verified", "advisories": ["INTEL-SA-1"]}}, "MISMATCH (advisories"),
        ({"expect": {"verdict": "verified", "tcb_eval_num": 16}}, "MISMATCH (tcb_eval_num"),
    ],
)
def test_one_wrong_field_is_one_clear_line(
    changes: Case, words: str, cases: dict[str, Case], written: Callable[..., Path]
) -> None:
    result = check(written(cases["tdx-phala-v4-collateral-expired"], {**cases["tdx-phala-v4"], **changes}))
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout.splitlines()[0].endswith("ok")
    line = result.stdout.splitlines()[1]
    assert line.startswith("tdx-phala-v4  ")
    assert words in line
    assert result.stdout.splitlines()[2] == "1 of 2 as expected"


@pytest.mark.parametrize("reason", ["fmspc/pceid", "tcb.fmspc", "crl", "crl time ", "made up"])
def test_another_reason_is_a_mismatch(reason: str, cases: dict[str, Case], written: Callable[..., Path]) -> None:
    case = {**cases["tdx-phala-v4-collateral-expired"], "expect": {"verdict": "rejected", "reason": reason}}
    assert check(written(case)).exit_code == 1


def test_a_reason_may_be_one_of_our_codes(cases: dict[str, Case], written: Callable[..., Path]) -> None:
    case = {**cases["tdx-phala-v4-collateral-expired"], "expect": {"verdict": "rejected", "reason": "crl.expired"}}
    assert check(written(case)).exit_code == 0


def test_a_root_of_ones_own_is_none(cases: dict[str, Case], written: Callable[..., Path], tmp_path: Path) -> None:
    from intel_world import IntelWorld, pem

    path = written({**cases["tdx-phala-v4"], "roots": ["own.pem"]})
    (tmp_path / "own.pem").write_text(pem(IntelWorld().root))
    result = check(path)
    assert result.exit_code == 1
    assert "error manifest.root  MISMATCH (a root that is none of the packaged ones)" in result.stdout


@pytest.mark.parametrize(
    "fields",
    [{"schema": 2}, {"vectors": []}, {"vectors": 3}, {"generated": "soon"}, {"more": 1}, {"vectors": [{"id": "x"}]}],
)
def test_a_manifest_of_another_schema(fields: Case, cases: dict[str, Case], written: Callable[..., Path]) -> None:
    result = check(written(cases["tdx-phala-v4"], **fields))
    assert isinstance(result.exception, CloisterError)
    assert result.exception.code == "manifest.malformed"


def test_two_cases_of_one_name(cases: dict[str, Case], written: Callable[..., Path]) -> None:
    result = check(written(cases["tdx-phala-v4"], cases["tdx-phala-v4"]))
    assert isinstance(result.exception, CloisterError)


def test_no_manifest() -> None:
    result = check("/nonexistent/MANIFEST.json")
    assert isinstance(result.exception, CloisterError)
    assert result.exception.code == "manifest.file"


def test_the_mapping_leads_into_the_lists_only() -> None:
    for _, codes in manifests.REASONS:
        assert set(codes) <= set(CODES)
    assert {verdict for verdict, _ in manifests.WORDS.values()} <= set(VERDICTS)
    assert not set(manifests.WORDS) & set(VERDICTS)
