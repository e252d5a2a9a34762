"""What a submission holds or shows, made harmless in itself, whoever opens it and with what.

nbgrader's formgrader and its feedback put a student's markdown and HTML into a page of the
instructor's own as they are, and each program renders them in its own way. So nothing goes into an
autograded notebook but text, PNG and JPEG, HTML without anything active, and markdown without
raw HTML. What nbgrader would make of the markdown is looked at, and what is still doubtful is shown
as plain text.
"""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import nbformat
from markupsafe import Markup
from nbconvert.filters import strip_files_prefix
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from .rendering import IMAGES, TAGS, clean_html, is_image

MOST_OUTPUTS = 500
MOST_TEXT = 1_000_000
MOST_IMAGE = 8_000_000
MOST_HTML, ALL_HTML = 100_000, 300_000
MOST_MARKDOWN, RENDERED_MARKDOWN, ALL_MARKDOWN = 100_000, 20_000, 60_000

_TAG = re.compile(r"<(?=[A-Za-z/!?])(?!/?(?:b|br|code|em|hr|i|kbd|s|small|strong|sub|sup|u) ?/?>)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_IMAGE = re.compile(r"!\[(?![^\]\n]{0,200}\]\(attachment:)")
_ACTIVE_TEX = re.compile(
    r"\\(?=(?:bbox|class|cssId|data|href|html\w*|mmlToken|require|style|unicode|url)\b)"
)
_ADDRESS = re.compile(r"(?:https?://|mailto:|#|[\w./-]+(?:$|[?#]))", re.IGNORECASE)
_ALIGNMENT = re.compile(r"text-align: ?(?:left|center|right);?")
_ATTACHMENT = re.compile(r"[\w.() -]{1,100}")
_PLAIN_ATTRIBUTES = {"alt", "checked", "class", "disabled", "id", "start", "title", "type"}
_GENERATED = {"input", "section"}
"""Tags that markdown renderers make, for lists of tasks and for footnotes."""


def text(value: Any, most: int = MOST_TEXT) -> str:
    """A text of a notebook's JSON, which may be a list of lines, as text that can be written."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return ""
    if len(value) > most:
        value = f"{value[:most]}\n… {len(value) - most:,} more characters were left out."
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


@dataclass
class Cleaner:
    """Makes the cells of one notebook harmless, with a bound on the work that this may be.

    Attributes:
        html: So many more characters of HTML are taken in.
        rendered: So many more characters of markdown are looked at; others are shown as text.
    """

    html: int = ALL_HTML
    rendered: int = ALL_MARKDOWN

    def cell(self, cell: NotebookNode) -> None:
        """Make a student's own cell, or a written answer, harmless; code stays code.

        nbgrader renders a raw cell as HTML, so none is left.
        """
        if cell.cell_type == "code":
            return
        cell.cell_type = "markdown"
        pictures = attachments(cell.pop("attachments", None))
        cell.source = self.markdown(cell.source, pictures)
        if pictures:
            cell.attachments = nbformat.from_dict(pictures)

    def markdown(self, source: str, pictures: dict[str, Any] | None = None) -> str:
        """Markdown that holds no raw HTML but a few tags, no active address, no foreign image.

        Args:
            source: The text.
            pictures: The cell's attachments, made harmless.
        """
        source = _CONTROL.sub("", text(source.replace("\r", "\n"), MOST_MARKDOWN))
        source = _TAG.sub("< ", _ACTIVE_TEX.sub(r"\\ ", source)).replace("```mermaid", "```text")
        cleaned = _IMAGE.sub(r"\\![", source)
        if len(cleaned) <= min(RENDERED_MARKDOWN, self.rendered):
            self.rendered -= len(cleaned)
            if _renders_harmlessly(cleaned, pictures or {}):
                return cleaned
        return _as_text(source)

    def outputs(self, listed: Any) -> list[NotebookNode]:
        """The outputs of a cell; what is malformed is left out."""
        listed = listed[:MOST_OUTPUTS] if isinstance(listed, list) else []
        made = [self.output(raw) for raw in listed if isinstance(raw, dict)]
        return [output for output in made if output is not None]

    def output(self, raw: dict[str, Any]) -> NotebookNode | None:
        """One output, or None where it is none."""
        kind = raw.get("output_type")
        made: dict[str, Any] = {"output_type": kind}
        if kind == "stream":
            made["name"] = "stderr" if raw.get("name") == "stderr" else "stdout"
            made["text"] = text(raw.get("text"))
        elif kind == "error":
            lines = raw.get("traceback")
            made["ename"] = text(raw.get("ename"), 200)
            made["evalue"] = text(raw.get("evalue"), 10_000)
            made["traceback"] = list(map(text, lines[:100])) if isinstance(lines, list) else []
        elif kind in ("display_data", "execute_result"):
            data = raw.get("data")
            made["data"] = self._data(data if isinstance(data, dict) else {})
            made["metadata"] = {}
            if kind == "execute_result":
                made["execution_count"] = None
        else:
            return None
        return nbformat.from_dict(made)

    def _data(self, data: dict[str, Any]) -> dict[str, str]:
        """The harmless ones of the forms that a value is given in."""
        made = {mime: image for mime in IMAGES if (image := _image(mime, data.get(mime)))}
        html = text(data.get("text/html"), MOST_HTML + 1)
        if html and len(html) <= min(MOST_HTML, self.html):
            self.html -= len(html)
            # Formulas are set in HTML too, and may hold addresses.
            made["text/html"] = str(clean_html(html)).replace("\\", "\\\u2060")
        if "text/markdown" in data:
            made["text/markdown"] = self.markdown(text(data["text/markdown"]))
        if "text/plain" in data or not made:
            left_out = ", ".join(text(mime, 50) for mime in list(data)[:5])
            made["text/plain"] = text(data.get("text/plain")) or f"Not shown: {left_out}."
        return made


def shown(html: str) -> Markup:
    """What nbgrader makes of markdown, made harmless once more; a filter of its templates.

    nbgrader's own templates put every text through the filter that this one replaces.
    """
    return Markup(_ACTIVE_TEX.sub(r"\\ ", clean_html(strip_files_prefix(html))))


def attachments(raw: Any) -> dict[str, Any]:
    """A cell's attachments that are images, by names that are names."""
    made: dict[str, Any] = {}
    for name, forms in raw.items() if isinstance(raw, dict) else ():
        if _ATTACHMENT.fullmatch(name) and isinstance(forms, dict):
            good = {mime: image for mime in IMAGES if (image := _image(mime, forms.get(mime)))}
            if good:
                made[name] = good
    return made


def _image(mime: str, data: Any) -> str:
    """An image's base64 text, or `""` where it is none of this type or too large."""
    image = re.sub(r"\s+", "", text(data, MOST_IMAGE + 1))
    return image if 0 < len(image) <= MOST_IMAGE and is_image(mime, image) else ""


def _renders_harmlessly(source: str, pictures: dict[str, Any]) -> bool:
    """Whether nbgrader makes nothing of a text but what is harmless."""
    renderer = IPythonRenderer(escape=False, attachments=pictures)
    looker = _Looker()
    try:
        looker.feed(MarkdownWithMath(renderer=renderer).render(source))
        looker.close()
    except Exception:  # hostile text: whatever the renderer stumbles over is not for a page
        return False
    return looker.harmless


class _Looker(HTMLParser):
    """Looks for anything active in HTML that a markdown renderer made."""

    def __init__(self) -> None:
        super().__init__()
        self.harmless = True

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Look at a tag."""
        if tag not in TAGS | _GENERATED or not all(_harmless(tag, *pair) for pair in attributes):
            self.harmless = False

    def handle_comment(self, data: str) -> None:
        """A renderer makes none."""
        self.harmless = False

    def handle_decl(self, decl: str) -> None:
        """A renderer makes none."""
        self.harmless = False

    def handle_pi(self, data: str) -> None:
        """A renderer makes none."""
        self.harmless = False


def _harmless(tag: str, name: str, value: str | None) -> bool:
    value = value or ""
    if (tag, name) == ("img", "src"):
        match = re.fullmatch(r"data:(image/(?:png|jpeg));base64,(.*)", value, re.DOTALL)
        return bool(match) and is_image(match[1], match[2]) if match else False
    if (tag, name) == ("a", "href"):
        return bool(_ADDRESS.match(value))
    if name == "style":
        return bool(_ALIGNMENT.fullmatch(value))
    return name in _PLAIN_ATTRIBUTES


def _as_text(source: str) -> str:
    """A text as an indented block, in which nothing means anything."""
    for math in ("$$", "\\[", "\\(", "\\begin{"):
        source = source.replace(math, f"{math[0]} {math[1:]}")
    return "\n".join(
        ["*Shown as plain text:*", "", *(f"    {line}" for line in source.split("\n"))]
    )
