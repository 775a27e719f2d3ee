"""The part of Cloister inside a Jupyter server: it takes out of notebooks what may not be saved.

The package enables it for every Jupyter server of its environment (``jupyter_server_config.d/cloister.json``). Saving,
autosaving, new files and uploads go through the contents manager and so through its hooks; a checkpoint is a copy of
what was saved. A notebook that could not be looked at is not saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloister.analyst import storing
from cloister.receipt import saving


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Return what Jupyter server asks an extension for."""
    return [{"module": "cloister.analyst.server_extension"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Register the hook with the server's contents manager, and let the kernels know."""
    server.contents_manager.register_pre_save_hook(before_save)
    storing.promise()


def before_save(model: Mapping[str, Any], **_about: Any) -> None:
    """Take out of a notebook that is being saved what its contract keeps out of files.

    Raises:
        HTTPError: It could not be looked at.
    """
    from tornado.web import HTTPError  # noqa: PLC0415 (only a Jupyter server runs this)

    content = model.get("content")
    if model.get("type") != "notebook" or not isinstance(content, dict):
        return
    try:
        storing.strip(content)
        left = saving.has_marks(content)
    except Exception as error:
        # Jupyter would log it and save all the same.
        reason = "Cloister could not check this notebook for results that may not be saved, so it was not saved"
        raise HTTPError(500, f"{reason}: {type(error).__name__}") from error
    if left:
        raise HTTPError(400, "Cloister: results that may not be saved are where a notebook of format 4 has no outputs")
