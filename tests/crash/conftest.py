"""Crash tests use the vault tests' world: real processes that can be killed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "vault"))
