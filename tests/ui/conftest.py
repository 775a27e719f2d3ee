"""A browser, a user with a Cloister of their own, and the two applications, each started once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsers import chromium_path, open_browser
from jupyter_user import Application, JupyterUser
from lab import SECOND, NotebookPage
from playwright.sync_api import Browser, Page

VIEWPORT = {"width": 1280, "height": 800}
Open = Callable[..., NotebookPage]


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterUser]:
    """A user with the demo contract."""
    chromium_path()
    user = JupyterUser(tmp_path_factory.mktemp("ui"))
    user.command("demo", "reset")
    yield user
    user.command("demo", "down")


@pytest.fixture(scope="session")
def lab(user: JupyterUser) -> Iterator[Application]:
    """JupyterLab of this user."""
    application = Application(user, "lab")
    yield application
    application.close()


@pytest.fixture(scope="session")
def notebook7(user: JupyterUser) -> Iterator[Application]:
    """Notebook 7 of this user."""
    application = Application(user, "notebook")
    yield application
    application.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser, for one module."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page; if the test fails, what it showed is kept in ``build/ui``."""
    context = browser.new_context(viewport=VIEWPORT, reduced_motion="reduce", locale="en-US", timezone_id="UTC")
    context.set_default_timeout(20 * SECOND)
    page = context.new_page()
    yield page
    report = request.node.stash.get(FAILED, None)
    if report:
        target = Path("build/ui") / f"{request.node.name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target)
    context.close()


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Remember a failure until the page is closed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
