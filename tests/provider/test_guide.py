"""The provider's page is run as it stands: every command in docs/provider.md, in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "provider.md"


@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a POSIX shell")
def test_the_guide_runs(tmp_path):
    rows = "\n".join(f"P{n % 40},{20 + n % 60},{'female' if n % 2 else 'male'}" for n in range(100))
    (tmp_path / "visits.csv").write_text(f"patient_id,age,sex\n{rows}\n")
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + "".join(blocks)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    state = {"CLOISTER_HOME": str(tmp_path / "home"), "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path, **state}, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "signed by everybody" in done.stdout
    assert "clinic.visits: mean of age by sex   [cost 20 % of clinic.patients" in done.stdout
    assert "Reservations: origin unknown, simulated" in done.stdout
    assert "revoked: from now on nothing is released" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr
