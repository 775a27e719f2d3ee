"""What works on this machine: for ``cloister doctor``. Looks, changes nothing."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_config_path, jupyter_path

from cloister.home import cloister_home

_EXTRAS = {
    "enclave": ("duckdb", "opendp", "pyarrow"),
    "provider": ("sqlalchemy", "starlette", "uvicorn", "structlog"),
    "demo": ("statsmodels",),
}


class Finding(NamedTuple):
    """One thing looked at."""

    what: str
    works: bool
    detail: str
    next_step: str = ""


def findings() -> Iterator[Finding]:
    """Yield what was found, the base first."""
    yield Finding("Python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer")
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        detail = f"without {', '.join(missing)}" if missing else "installed"
        yield Finding(f"extra [{extra}]", not missing, detail, f"pip install 'cloister[{extra}]'")
    kernels = KernelSpecManager().find_kernel_specs()
    ours = sorted(name for name in kernels if name.startswith("cloister"))
    yield Finding(
        "Jupyter kernels", bool(ours), ", ".join(ours) or "none", "install the wheel, or run `cloister connect`"
    )
    places = map(Path, jupyter_path("labextensions", "@cloister", "lab", "package.json"))
    shown = any(place.is_file() for place in places)
    step = "install from a released wheel, or with Node 20.19 or later from source"
    yield Finding("JupyterLab extension", shown, "installed" if shown else "not installed; kernels work without", step)
    configured = (Path(place) / "jupyter_server_config.d" / "cloister.json" for place in jupyter_config_path())
    strips = any(place.is_file() for place in configured)
    detail = "strips what it saves" if strips else "not enabled: results that contracts keep out of files are not shown"
    yield Finding("Jupyter server extension", strips, detail, "install cloister in the environment of the server")
    yield _isolation()
    yield Finding("state", True, str(cloister_home()))


def _isolation() -> Finding:
    if sys.platform != "linux":
        step = "connect to an enclave elsewhere: `cloister connect`"
        return Finding("embedded enclave", False, f"needs Linux, this is {sys.platform}", step)
    from cloister.enclave.isolation import probe  # noqa: PLC0415 (Linux only)

    report = probe()
    filters = "with" if report.seccomp else "without"
    detail = f"isolation {report.level} (Landlock ABI {report.landlock}, {filters} seccomp)"
    step = "the demo runs, on demonstration data only; see docs/isolation.md"
    return Finding("embedded enclave", report.level != "none", detail, step)
