"""What a hostile submission holds and shows does nothing in the browser of whoever opens it."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter
from nbgrader.api import Gradebook
from playwright.sync_api import BrowserContext, Page, Request, expect

from autograder.cli import main
from autograder.gradebook import database_url
from tests.browser.servers import running
from tests.browser.test_formgrader import LAB, SERVER, STUDENT, choice, grade, results, submit
from tests.support.hostile_html import poisoned

ANSWER, EXPERIMENT = "1_5-written", "1_3-experiment-1"
pytestmark = pytest.mark.slow


@dataclass
class Beacon:
    """A server that hears who calls home."""

    address: str = ""
    heard: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def beacon() -> Iterator[Beacon]:
    """A server that answers everything and remembers what was asked for."""
    made = Beacon()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.heard.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory, beacon: Beacon) -> Path:
    """A graded course with one submission, which holds everything that could act."""
    folder = tmp_path_factory.mktemp("hostile") / "course"
    assert main(["init", str(folder), "--lab", LAB]) == 0
    file = folder / "course.toml"
    file.write_text(file.read_text().replace("# stages = [", "stages = ["))
    assert choice(folder).stages == ("1.3", "1.5")
    submit(folder, mistakes=())
    path = folder / "submitted" / STUDENT / LAB / f"{LAB}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.write(poisoned(notebook, beacon.address, ANSWER, EXPERIMENT), path)
    shutil.copy(path, folder.with_name("raw.ipynb"))
    grade(folder)
    return folder


TOUCH = """
() => {
    for (const element of document.querySelectorAll("%s *")) {
        for (const kind of ["mouseover", "mouseenter", "focus", "error", "load", "toggle"])
            element.dispatchEvent(new Event(kind, {bubbles: true}));
        // A link to a website leads there, and a jump to a heading is none of a script's doing.
        if (/^(javascript|data|blob|vbscript):/i.test(element.href))
            element.click();
        if (element.tagName == "BUTTON" && !element.closest(".panel-heading"))
            element.click();
    }
}
"""
ACTIVE = (
    "script, style, link, base, meta, iframe, object, embed, form, svg, math, video, audio,"
    "picture, [style*=position], [style*=url], [href^='javascript' i], [href^='data' i],"
    "[src^='http'], [srcset], [background], [onerror], [onload], [onmouseover], [onfocus],"
    "[ontoggle]"
)


def opened(page: Page, address: str, part: str, beacon: Beacon, ours: int = 0) -> list[str]:
    """Open a page, touch everything in a part of it, and say what acted.

    Args:
        page: An empty page.
        address: The page's address.
        part: Selects what holds the submission.
        beacon: Hears who calls home.
        ours: So many active elements in there are nbgrader's own.
    """
    found: list[str] = []
    own = address.partition("://")[2].partition("/")[0] or "no host"

    def look(request: Request) -> None:
        foreign = "127.0.0.1" in request.url and own not in request.url
        if foreign or (request.method != "GET" and not request.url.endswith("/comments")):
            found.append(f"{request.method} {request.url}")

    page.on("request", look)
    page.on("dialog", lambda dialog: (found.append("dialog"), dialog.dismiss()))
    page.on("popup", lambda popup: popup.close())
    page.goto(address, wait_until="load")
    expect(page.locator(part).first).to_be_visible()
    page.evaluate(TOUCH % part)
    # What had been on its way has arrived by the time that this comes back.
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))")
    # formgrader notes in its address which cell is selected.
    if not page.url.startswith(address.partition("?")[0]):
        return [*found, f"left for {page.url}"]
    marked = page.evaluate("() => window.pwned")
    active = page.locator(part).first.locator(ACTIVE).count()
    found += [f"ran: {marked}"] if marked else []
    found += [f"{active} active elements"] if active != ours else []
    return found + beacon.heard


def test_nothing_of_a_submission_acts_in_feedback_and_report(
    context: BrowserContext, course: Path, beacon: Beacon
) -> None:
    command = [str(Path(sys.executable).with_name("nbgrader")), "generate_feedback", LAB]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {
        course / "feedback" / STUDENT / LAB / f"{LAB}.html": "#notebook-container",
        results(course) / "feedback" / STUDENT / f"{LAB}.html": "body",
        results(course) / "report.html": "body",
    }
    for path, part in pages.items():
        opened_page = context.new_page()
        ours = 0
        if part == "body":
            opened_page.goto(path.as_uri())
            ours = opened_page.locator("body").locator("svg, style, [style*=position]").count()
        assert opened(opened_page, path.as_uri(), part, beacon, ours) == [], path.name
        opened_page.close()


def test_nothing_of_a_submission_acts_in_formgrader(
    page: Page, context: BrowserContext, course: Path, beacon: Beacon, tmp_path: Path
) -> None:
    with running(SERVER, course, tmp_path / "home") as address:
        front, _, token = address.partition("?")
        base = f"{front.partition('/lab')[0]}/formgrader"
        with Gradebook(database_url(course)) as gradebook:
            submission = gradebook.find_submission_notebook(LAB, LAB, STUDENT).id
            before = gradebook.find_submission(LAB, STUDENT).score
        address = f"{base}/submissions/{submission}?{token}"
        assert opened(page, address, "#notebook-container", beacon) == []
        # The second wall: a notebook that came into autograded/ by another way.
        raw = course.with_name("raw.ipynb")
        shutil.copy(raw, course / "autograded" / STUDENT / LAB / f"{LAB}.ipynb")
        second = context.new_page()
        second.goto(address)
        # nbgrader's own frames, which an output may ask for; what is in them is clean.
        frames = second.locator("#notebook-container .isolated-iframe").count()
        assert opened(second, address, "#notebook-container", beacon, frames) == []
        second.close()
        with Gradebook(database_url(course)) as gradebook:
            assert gradebook.find_submission(LAB, STUDENT).score == before


def test_a_notebook_that_is_not_made_harmless_acts_on_its_reader(
    page: Page, course: Path, beacon: Beacon, tmp_path: Path
) -> None:
    """The attack is real: the same page without the harness's cleaning."""
    exporter = HTMLExporter(template_name="classic")
    html, _ = exporter.from_filename(str(course.with_name("raw.ipynb")))
    (tmp_path / "raw.html").write_text(html, encoding="utf-8")
    page.goto((tmp_path / "raw.html").as_uri(), wait_until="commit")
    page.wait_for_function("() => window.pwned")
    page.wait_for_event("requestfinished", lambda request: beacon.address in request.url)
    assert beacon.heard
