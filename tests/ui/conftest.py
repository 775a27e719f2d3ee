"""A browser, a user with a Cloister of their own, and the two applications, each started once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from browsers import chromium_path, open_browser
from contracts import OtherContract, changed_code
from jupyter_user import Application, JupyterUser
from lab import SECOND
from playwright.sync_api import Browser, Error, Page, expect

# The first release of a fresh enclave loads its tables.
expect.set_options(timeout=20 * SECOND)
VIEWPORT = {"width": 1280, "height": 800}
ROOT = Path(__file__).parents[2]
NewPage = Callable[..., Page]


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


@pytest.fixture(scope="session")
def small_contract(user: JupyterUser) -> Iterator[OtherContract]:
    """A second contract: with a small budget, so that it can be used up, and a mark on what it displays."""
    contract = OtherContract(user, "small", epsilon="0.5", display_mark=True)
    contract.serve()
    yield contract
    contract.close()


@pytest.fixture(scope="session")
def changed_enclave(user: JupyterUser) -> Iterator[OtherContract]:
    """A contract whose enclave runs other code than everybody agreed to."""
    contract = OtherContract(user, "changed", epsilon="1")
    contract.serve(PYTHONPATH=changed_code(user.root / "changed-code"))
    yield contract
    contract.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser, for one module."""
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def new_page(browser: Browser) -> Iterator[NewPage]:
    """Open empty pages that last as long as the module."""
    contexts = []

    def open_page(**options: Any) -> Page:
        options = {"viewport": VIEWPORT, "reduced_motion": "reduce", "locale": "en-US", "timezone_id": "UTC", **options}
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(20 * SECOND)
        return contexts[-1].new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_page: NewPage) -> Iterator[Page]:
    """An empty page for one test."""
    page = new_page()
    yield page
    page.close()


# Notebook 7 has its views in CI, and everything else by night.
APPLICATIONS = ["lab", pytest.param("notebook7", marks=pytest.mark.slow)]


@pytest.fixture(params=APPLICATIONS)
def application(request: pytest.FixtureRequest) -> Iterator[Application]:
    """Each of the two applications in turn; its kernels end with the test."""
    application: Application = request.getfixturevalue(request.param)
    yield application
    application.end_kernels()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Keep what every open page shows when a test fails, in ``build/ui``."""
    report = yield
    browser = getattr(item, "funcargs", {}).get("browser")
    if report.failed and browser is not None:
        pages = [page for context in browser.contexts for page in context.pages]
        for number, page in enumerate(pages):
            # A page too busy for a picture fails its test, not the whole run.
            with suppress(Error):
                page.screenshot(path=ROOT / "build" / "ui" / f"{item.name}-{number}.png")
    return report
