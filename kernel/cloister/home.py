"""Where Cloister keeps its state: ``CLOISTER_HOME``, or the platform's user data folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cloister_home() -> Path:
    """Return the state folder (not created)."""
    chosen = os.environ.get("CLOISTER_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("cloister", appauthor=False))
