"""The browser of these tests: the system's Chromium, or a skip that CI turns into a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

REQUIRE = "CLOISTER_REQUIRE_BROWSER"
# Containers have a small /dev/shm, and root has no user namespace of its own.
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--force-color-profile=srgb")


def chromium_path() -> str:
    """Return where Chromium is; skip the test without one, or fail it where a browser is promised."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1 and there is no Chromium: apt-get install chromium")
    if path is None:
        pytest.skip("no Chromium (apt-get install chromium); .ci/run installs it and requires it")
    return path


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Open the browser. Not longer than a module: Playwright's loop runs in the thread that other tests need."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()
