"""More contracts for one user: another enclave with another budget, and one that runs other code than was agreed.

Each has a state folder, a broker and an enclave of its own; the user's trust store names it and two kernels lead there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from jupyter_user import JupyterUser

import cloister
from cloister.analyst.kernelspecs import MODES, kernel_json, kernel_name
from cloister.analyst.trust import TrustStore, make_entry
from cloister.demo import parties
from cloister.demo.world import World


class OtherContract:
    """A contract that providers signed with ``user``, served by a pair of its own."""

    def __init__(self, user: JupyterUser, name: str, *, epsilon: str, display_mark: bool = False) -> None:
        self.user, self.name = user, name
        self.home = user.root / name
        self._env = {**user.env, "CLOISTER_HOME": str(self.home), "CLOISTER_DEMO_IDLE_S": "900"}
        # The same person signs: contracts name analysts by their keys.
        TrustStore(user.home / "trust").analyst_key()
        (self.home / "trust").mkdir(parents=True, mode=0o700)
        shutil.copy2(user.home / "trust" / "analyst.key", self.home / "trust" / "analyst.key")
        self.world: World = parties.build_world(
            self.home, scene=parties.DEMO._replace(display_mark=display_mark), epsilon=epsilon
        )

    @property
    def kernel(self) -> str:
        """The name of the confidential kernel."""
        return kernel_name(self.name, "confidential")

    def serve(self, **env: str) -> None:
        """Start broker and enclave, and make kernels that lead there."""
        up = [sys.executable, "-m", "cloister.demo", "up"]
        done = subprocess.run(up, env={**self._env, **env}, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise AssertionError(done.stderr)
        self._trust(json.loads(done.stdout)["agent"])

    def close(self) -> None:
        """Stop broker and enclave."""
        subprocess.run([sys.executable, "-m", "cloister.demo", "down"], env=self._env, timeout=60, check=True)

    def _trust(self, agent: str) -> None:
        entry = make_entry(
            self.name,
            endpoint=agent,
            contract=self.world.contract_envelope(),
            policy=(self.world.broker_home / "policy.toml").read_text("utf-8"),
            accept_simulated=True,
        )
        TrustStore(self.user.home / "trust").save(entry)
        for mode in MODES:
            folder = self.user.root / "data" / "kernels" / kernel_name(self.name, mode)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "kernel.json").write_text(json.dumps(kernel_json(self.name, mode, self.name)))


def changed_code(folder: Path) -> str:
    """Return a ``PYTHONPATH`` with a copy of the package in which one comment more is all that changed."""
    package = folder / "cloister"
    shutil.copytree(Path(cloister.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "vault" / "noise.py").open("a") as source:
        source.write("# and so it is other code\n")
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
