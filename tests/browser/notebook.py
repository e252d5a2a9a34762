"""A notebook in JupyterLab, driven with keyboard and mouse as a student does."""

import re
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, expect

RAN = re.compile(r"^\[\d+\]:$")


class Notebook:
    """One notebook, open in a browser.

    Args:
        page: A page of the browser, at any address.
        address: The server's address with its token, as the server printed it.
        path: The notebook's file, in the server's root folder.
    """

    def __init__(self, page: Page, address: str, path: Path) -> None:
        self.page, self.path = page, path
        self.names = [cell.id for cell in nbformat.read(path, as_version=4).cells]
        server, token = address.partition("/lab")[0], address.partition("?")[2]
        # `reset` leaves the pages of earlier tests out.
        page.goto(f"{server}/lab/tree/{path.name}?reset&{token}")
        expect(page.locator(".jp-Notebook-cell")).to_have_count(len(self.names))
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the kernel is there and idle."""
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("(ipykernel) | Idle")

    def cell(self, name: str) -> Locator:
        """A cell by its id, or by the name that `insert_below` gave it."""
        return self.page.locator(".jp-Notebook-cell").nth(self.names.index(name))

    def output(self, name: str) -> Locator:
        """What a cell shows below its code."""
        return self.cell(name).locator(".jp-OutputArea-output")

    def write(self, name: str, text: str) -> None:
        """Replace the text of a cell."""
        self.cell(name).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.keyboard.insert_text(text)

    def run(self, name: str) -> Locator:
        """Run a cell, wait until it is done, and give what it shows."""
        prompt = self.cell(name).locator(".jp-InputArea-prompt")
        prompt.evaluate("prompt => { prompt.textContent = '' }")
        prompt.click()
        self.page.keyboard.press("Control+Enter")
        expect(prompt).to_have_text(RAN)
        return self.output(name)

    def insert_below(self, name: str, new: str, text: str) -> None:
        """Insert a cell of the student's own below another."""
        self.cell(name).locator(".jp-InputArea-prompt").click()
        self.page.keyboard.press("b")
        self.names.insert(self.names.index(name) + 1, new)
        expect(self.page.locator(".jp-Notebook-cell")).to_have_count(len(self.names))
        self.write(new, text)

    def save(self) -> None:
        """Save the notebook and wait until it is on disk."""
        self.page.keyboard.press("ControlOrMeta+S")
        expect(self.page.locator(".lm-TabBar-tab.jp-mod-current.jp-mod-dirty")).to_have_count(0)

    def restart(self) -> None:
        """Restart the kernel through the menu."""
        self.page.get_by_role("menuitem", name="Kernel", exact=True).click()
        self.page.locator(".lm-Menu-item[data-command='kernelmenu:restart']").click()
        self.page.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
        expect(self.page.locator(".jp-Dialog")).to_have_count(0)
        self.wait_for_kernel()
