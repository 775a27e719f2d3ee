"""The two kernelspecs of a trust store entry: *Cloister: X* and *Cloister: X (mock)*.

They are ordinary kernelspec folders, so Lab, Notebook, VS Code, nbclient and papermill find them; they name an entry
and a mode, never an endpoint.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager

from cloister.attest.opening import Mode
from cloister.errors import UnavailableError

MODES: tuple[Mode, ...] = ("confidential", "mock")
LOGOS = Path(__file__).parent / "logos"
"""What launchers show, by mode: three kernels must not look alike."""


def kernel_name(entry: str, mode: Mode) -> str:
    """Return the kernelspec's name: ``cloister-X`` or ``cloister-X-mock``."""
    return f"cloister-{entry}" + ("-mock" if mode == "mock" else "")


def kernel_json(entry: str, mode: Mode, title: str) -> dict[str, Any]:
    """Return the content of ``kernel.json``."""
    # Some front ends know Python kernels by "python -m"; so the safe path comes by environment and not as -P.
    argv = [sys.executable, "-m", "cloister.analyst", "-f", "{connection_file}", "--entry", entry, "--mode", mode]
    return {
        "argv": argv,
        "display_name": f"Cloister: {title}" + (" (mock)" if mode == "mock" else ""),
        "language": "python",
        # Kernels start in the notebook's folder, and what lies there is not part of this program.
        "env": {"PYTHONSAFEPATH": "1"},
        "interrupt_mode": "message",
        "metadata": {"debugger": False, "supported_encryption": ["curve"]},
    }


def install_kernelspecs(entry: str, title: str, *, prefix: Path | None = None) -> tuple[str, ...]:
    """Install both kernelspecs, for this user or under ``prefix``; return their names.

    Raises:
        UnavailableError: The folder cannot be written.
    """
    names = []
    for mode in MODES:
        name = kernel_name(entry, mode)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kernel.json").write_text(json.dumps(kernel_json(entry, mode, title), indent=2))
            (Path(folder) / "logo-svg.svg").write_bytes((LOGOS / f"{mode}.svg").read_bytes())
            try:
                KernelSpecManager().install_kernel_spec(
                    folder, name, user=prefix is None, prefix=None if prefix is None else str(prefix)
                )
            except OSError as error:
                raise UnavailableError(
                    "kernelspec.write", f"the kernelspec {name} cannot be installed: {error.strerror}"
                ) from error
        names.append(name)
    return tuple(names)


def remove_kernelspecs(entry: str) -> None:
    """Remove both kernelspecs of an entry, as far as they exist."""
    manager = KernelSpecManager()
    for mode in MODES:
        if kernel_name(entry, mode) in manager.find_kernel_specs():
            manager.remove_kernel_spec(kernel_name(entry, mode))
