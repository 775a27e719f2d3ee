"""Kernelspecs of the protocol tests: the proxy with a local session, in each of its states."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
SPECS = {"cloister-local": "kernel", "cloister-refused": "refused", "cloister-slow": "slow"}
ATTESTED = "cloister-attested"


def write_spec(root: Path, name: str, argv: list[str], env: dict[str, str]) -> None:
    """Write a kernelspec as ``cloister connect`` would."""
    folder = root / "kernels" / name
    folder.mkdir(parents=True)
    spec = {
        "argv": argv,
        "display_name": name,
        "language": "python",
        "interrupt_mode": "message",
        "env": env,
        "metadata": {"debugger": False, "supported_encryption": ["curve"]},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))


@pytest.fixture(scope="session", autouse=True)
def kernelspecs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the specs visible to every Jupyter client of this run."""
    root = tmp_path_factory.mktemp("jupyter")
    for name, behaviour in SPECS.items():
        write_spec(root, name, [sys.executable, str(HERE / "local_proxy.py"), "-f", "{connection_file}", behaviour], {})
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(root), before]))
    yield root
    if before is None:
        del os.environ["JUPYTER_PATH"]
    else:
        os.environ["JUPYTER_PATH"] = before


@pytest.fixture(scope="session")
def attested(kernelspecs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a kernel behind a real, attested enclave: the embedded demo, in a state folder of its own.

    With ``-mock`` behind it, the mock kernel of the same contract.
    """
    home = tmp_path_factory.mktemp("home")
    env = {"CLOISTER_HOME": str(home)}
    command = [sys.executable, "-m", "cloister.analyst", "-f", "{connection_file}"]
    write_spec(kernelspecs, ATTESTED, [*command, "--entry", "demo", "--mode", "confidential"], env)
    write_spec(kernelspecs, f"{ATTESTED}-mock", [*command, "--entry", "demo", "--mode", "mock"], env)
    demo = [sys.executable, "-m", "cloister.demo"]
    subprocess.run([*demo, "up"], env={**os.environ, **env}, check=True, timeout=120, stdout=subprocess.DEVNULL)
    yield ATTESTED
    subprocess.run([*demo, "down"], env={**os.environ, **env}, check=True, timeout=60, stdout=subprocess.DEVNULL)
