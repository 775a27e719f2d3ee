"""Taking out of a notebook what its contract keeps out of files, with what this machine knows of the contract.

Outputs carry their marks with them (``receipt/saving.py``); states of widgets cannot, so of a notebook whose kernel
works under a contract that keeps anything out of files they are not saved at all.
"""

from __future__ import annotations

import os
from typing import Any

from cloister.analyst.trust import TrustStore
from cloister.contract import signing, storage
from cloister.errors import CloisterError
from cloister.receipt import saving

_PREFIX = "cloister-"
_STRIPS = "CLOISTER_STRIPS_SAVED"


def promise() -> None:
    """Tell the kernels that this process starts that it strips what it saves; they inherit its environment."""
    os.environ[_STRIPS] = "1"


def promised() -> bool:
    """Whether what started this kernel strips what it saves.

    Other programs (VS Code, a server of another environment, papermill) write outputs as they got them.
    """
    return os.environ.get(_STRIPS) == "1"


def strip(notebook: dict[str, Any], store: TrustStore | None = None) -> int:
    """Take out of a notebook what may not be saved, in place; return from how many cells something was taken."""
    return saving.strip(notebook, widgets=_keeps_all(notebook, TrustStore() if store is None else store))


def _keeps_all(notebook: dict[str, Any], store: TrustStore) -> bool:
    """Whether the notebook's kernel is under no contract that keeps results out of files, as far as is known here."""
    name = _kernel(notebook)
    if saving.WIDGETS_KEY not in notebook.get("metadata", {}) or not name.startswith(_PREFIX):
        return True
    entry = name.removeprefix(_PREFIX)
    for known in (entry, entry.removesuffix("-mock")):
        try:
            return storage.keeps_all(signing.read_unverified(store.load(known).contract))
        except CloisterError:
            continue
    return True


def _kernel(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    spec = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else ""
