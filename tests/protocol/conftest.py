"""Kernelspecs of the protocol tests: the proxy with a local session, in each of its states."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
SPECS = {"cloister-local": "kernel", "cloister-refused": "refused", "cloister-slow": "slow"}


@pytest.fixture(scope="session", autouse=True)
def kernelspecs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the specs visible to every Jupyter client of this run."""
    root = tmp_path_factory.mktemp("jupyter")
    for name, behaviour in SPECS.items():
        folder = root / "kernels" / name
        folder.mkdir(parents=True)
        spec = {
            "argv": [sys.executable, str(HERE / "local_proxy.py"), "-f", "{connection_file}", behaviour],
            "display_name": name,
            "language": "python",
            "interrupt_mode": "message",
            "metadata": {"debugger": False, "supported_encryption": ["curve"]},
        }
        (folder / "kernel.json").write_text(json.dumps(spec))
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(root), before]))
    yield root
    if before is None:
        del os.environ["JUPYTER_PATH"]
    else:
        os.environ["JUPYTER_PATH"] = before
