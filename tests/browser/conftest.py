"""What the browser tests share: chromium, and a lab opened as `make labN` opens it."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from autograder.catalogue import load_catalogue
from autograder.text import REPOSITORY, read_lab
from autograder.visible import visible_recorded
from tests.browser.notebook import Notebook
from tests.browser.servers import SECONDS, running

LAB = "lab1_autodiff"
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-quic"
).split()
OPEN = """
import sys
from pathlib import Path
from autograder import laboratory
laboratory.REPOSITORY = Path(sys.argv[1])
laboratory.WORK_FOLDER = laboratory.REPOSITORY / "work"
sys.exit(laboratory.open_lab(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's chromium, without a window."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on PATH: install the system package `chromium`")
    expect.set_options(timeout=1000 * SECONDS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser profile of the tests' own; pages share its cache."""
    made = browser.new_context(viewport={"width": 1300, "height": 1000})
    made.set_default_timeout(1000 * SECONDS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """An empty page."""
    made = context.new_page()
    yield made
    made.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server started as by `make lab1`, its `work/` in a folder of its own: address, notebook."""
    visible_recorded(read_lab(LAB), load_catalogue(LAB))
    folder = tmp_path_factory.mktemp("lab")
    command = [sys.executable, "-c", OPEN, str(folder), LAB]
    with running(command, REPOSITORY, folder / "home") as address:
        yield address, folder / "work" / LAB / f"{LAB}.ipynb"


@pytest.fixture
def notebook(page: Page, lab: tuple[str, Path], request: pytest.FixtureRequest) -> Notebook:
    """A fresh copy of Lab 1 in JupyterLab, named after the test, beside the copies of others."""
    address, original = lab
    path = original.with_name(f"{request.node.name}.ipynb")
    shutil.copy(original, path)
    return Notebook(page, address, path)
