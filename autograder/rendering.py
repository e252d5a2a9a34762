"""An executed notebook as HTML that is safe to open: everything in it may come from a student.

Markdown and HTML outputs go through nh3, code and text are escaped, images are PNG or JPEG, and
SVG, scripts, styles and remote images are left out. Sizes are limited, so that one notebook cannot
make a page that no browser opens.
"""

import base64
import binascii
import functools
import re
from dataclasses import dataclass
from typing import Any

import mistune
import nh3
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.python import PythonLexer

MOST_CELLS = 1000
MOST_TEXT = 20_000
MOST_IMAGE = 4_000_000
MOST_HTML = 100_000
PAGE_TEXT = 2_000_000
PAGE_COLOURED = 200_000
PAGE_IMAGES = 16_000_000
PAGE_HTML = 300_000

TAGS = set(
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption "
    "figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub "
    "summary sup table tbody td tfoot th thead tr u ul var wbr".split()
)
ATTRIBUTES = {
    "*": {"title"},
    "a": {"href"},
    "img": {"alt", "src"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
CLASSES = {
    "div": {"aisys", "hint", "math"},
    "span": {"math"},
    "table": {"dataframe"},
    "td": {"ok", "no", "wait", "why"},
}
WITH_CONTENT = set(
    "script style svg math iframe object embed noscript template textarea title select audio video "
    "xmp noembed noframes plaintext".split()
)

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
IMAGES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
_LABELS = {
    "experiment": "experiment: not run by the grader, not graded by machine",
    "added": "added by you",
}


@dataclass(frozen=True)
class Output:
    """One output of a cell: `html` is safe markup; `kind` is text, error, html, image or note."""

    kind: str
    html: Markup


@dataclass(frozen=True)
class RenderedCell:
    """One cell ready for a template.

    Attributes:
        kind: `"markdown"`, `"code"` or `"raw"`.
        id: The cell's id.
        label: What the reader should know about it, or `""`.
        source: Safe markup.
        outputs: Its outputs.
    """

    kind: str
    id: str
    label: str
    source: Markup
    outputs: tuple[Output, ...] = ()


@dataclass
class _Budget:
    """What may still be put on the page, in characters."""

    text: int = PAGE_TEXT
    images: int = PAGE_IMAGES
    html: int = PAGE_HTML
    coloured: int = PAGE_COLOURED

    def clip(self, text: str) -> str:
        """The part of a text that has room, with a note on what was left out."""
        room = max(0, min(MOST_TEXT, self.text))
        self.text -= min(room, len(text))
        if len(text) <= room:
            return text
        return f"{text[:room]}\n… {len(text) - room:,} more characters were left out."


def render_notebook(notebook: dict[str, Any] | None) -> list[RenderedCell]:
    """The cells of a notebook in nbformat's JSON form; whatever is malformed in it is left out."""
    cells = (notebook or {}).get("cells")
    if not isinstance(cells, list):
        return []
    budget = _Budget()
    made = [_cell(cell, budget) for cell in cells[:MOST_CELLS] if isinstance(cell, dict)]
    if len(cells) > MOST_CELLS:
        text = f"{len(cells) - MOST_CELLS:,} more cells were left out."
        made.append(RenderedCell("raw", "", "", Markup.escape(text)))
    return made


def clean_html(text: str) -> Markup:
    """HTML with only harmless elements, attributes and addresses."""
    return Markup(
        nh3.clean(
            text,
            tags=TAGS,
            clean_content_tags=WITH_CONTENT,
            attributes=ATTRIBUTES,
            allowed_classes=CLASSES,
            attribute_filter=_attribute,
            url_schemes={"http", "https", "mailto", "data"},
            link_rel="noopener noreferrer nofollow",
        )
    )


def plain_text(text: str) -> str:
    """Terminal output as it looks in the end: no escape sequences, no overwritten progress bars."""
    lines = _ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(_CONTROL.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]) for line in lines)


def _cell(cell: dict[str, Any], budget: _Budget) -> RenderedCell:
    kind = cell.get("cell_type")
    source = _text(cell.get("source"))
    metadata = cell.get("metadata")
    about = metadata.get("aisys") if isinstance(metadata, dict) else None
    role = about.get("role") if isinstance(about, dict) else "added"
    identity, label = _text(cell.get("id")), _LABELS.get(str(role), "")
    if kind == "markdown":
        return RenderedCell(
            "markdown", identity, label, _markdown(source, budget, cell.get("attachments"))
        )
    if kind != "code":
        return RenderedCell("raw", identity, label, Markup.escape(budget.clip(source)))
    outputs = cell.get("outputs")
    listed = outputs if isinstance(outputs, list) else []
    made = [_output(output, budget) for output in listed if isinstance(output, dict)]
    return RenderedCell("code", identity, label, _code(source, budget), tuple(filter(None, made)))


def _math(markdown: mistune.Markdown) -> None:
    """Show formulas as their TeX, without the delimiters: the page loads no script to set them."""
    if markdown.renderer is not None:
        for name, tag in (("inline_math", "span"), ("block_math", "div")):
            shell = Markup('<{0} class="math">{{}}</{0}>').format(Markup(tag))
            markdown.renderer.register(
                name, lambda _, text, shell=shell: shell.format(text.strip())
            )


PLUGINS: Any = ["table", "strikethrough", "footnotes", "math", _math]


class _Renderer(mistune.HTMLRenderer):
    """Markdown whose images are the cell's own attachments; its raw HTML must be cleaned after."""

    def __init__(self, attachments: dict[str, Any], budget: _Budget) -> None:
        super().__init__(escape=False)
        self.attachments, self.budget = attachments, budget

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """An attachment, or the image's description where it is none."""
        data = self.attachments.get(url.removeprefix("attachment:"))
        for mime, content in data.items() if isinstance(data, dict) else ():
            if mime in IMAGES:
                return str(_image(mime, _text(content), self.budget, text).html)
        return str(Markup("[image: {}]").format(text or url[:80]))


def _markdown(source: str, budget: _Budget, attachments: Any = None) -> Markup:
    """Markdown as HTML; text that is too long, or that the parser gives up on, stays as it is."""
    if len(source) <= min(MOST_TEXT, budget.html):
        budget.html -= len(source)
        try:
            if isinstance(attachments, dict):
                return _rendered(source, _Renderer(attachments, budget))
            return _without_attachments(source)
        except Exception:  # hostile text must not cost its author the whole page
            pass
    return Markup("<pre>{}</pre>").format(budget.clip(source))


@functools.lru_cache(maxsize=1024)
def _without_attachments(source: str) -> Markup:
    """Markdown as HTML; most cells are the same in the notebooks of a class."""
    return _rendered(source, _Renderer({}, _Budget()))


def _rendered(source: str, renderer: _Renderer) -> Markup:
    return clean_html(str(mistune.create_markdown(renderer=renderer, plugins=PLUGINS)(source)))


def _code(source: str, budget: _Budget) -> Markup:
    text = budget.clip(source)
    budget.coloured -= len(text)
    if source.startswith("%%") or budget.coloured < 0:
        return Markup.escape(text)
    return _coloured(text)


@functools.lru_cache(maxsize=1024)
def _coloured(text: str) -> Markup:
    """Python in colours; most cells are the same in the notebooks of a class."""
    # The lexer takes quadratic time over lines of blanks.
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return Markup(highlight(text, lexer, HtmlFormatter(nowrap=True)))


def _output(output: dict[str, Any], budget: _Budget) -> Output | None:
    kind = output.get("output_type")
    if kind == "stream":
        return _as_text("text", _text(output.get("text")), budget)
    if kind == "error":
        traceback = output.get("traceback")
        lines = [_text(line) for line in traceback] if isinstance(traceback, list) else []
        summary = f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
        return _as_text("error", "\n".join(lines) or summary, budget)
    data = output.get("data")
    return _data(data, budget) if isinstance(data, dict) else None


def _data(data: dict[str, Any], budget: _Budget) -> Output | None:
    """The richest harmless form of a displayed value."""
    for mime in IMAGES:
        if mime in data:
            return _image(mime, _text(data[mime]), budget)
    html = _text(data.get("text/html"))
    if html and len(html) <= min(MOST_HTML, budget.html):
        budget.html -= len(html)
        cleaned = clean_html(html)
        if 'src="data:' in cleaned or cleaned.striptags():
            return Output("html", cleaned)
    if "text/markdown" in data:
        return Output("html", _markdown(_text(data["text/markdown"]), budget))
    if "text/plain" in data:
        return _as_text("text", _text(data["text/plain"]), budget)
    if data:
        return Output("note", Markup("An output of type {} is not shown.").format(next(iter(data))))
    return None


def _image(mime: str, content: str, budget: _Budget, words: str = "plot") -> Output:
    text = re.sub(r"\s+", "", content)
    if len(text) > min(MOST_IMAGE, budget.images):
        return Output("note", Markup("An image was left out: it is too large for this page."))
    if not is_image(mime, text):
        return Output("note", Markup("An image was left out: its data is broken."))
    budget.images -= len(text)
    return Output(
        "image", Markup('<img alt="{}" src="data:{};base64,{}">').format(words, mime, text)
    )


def is_image(mime: str, text: str) -> bool:
    """Whether a base64 text is an image of this type, one of `IMAGES`."""
    try:
        return base64.b64decode(text, validate=True).startswith(IMAGES[mime])
    except (binascii.Error, ValueError):
        return False


def _as_text(kind: str, text: str, budget: _Budget) -> Output | None:
    text = plain_text(text).rstrip("\n")
    return Output(kind, Markup.escape(budget.clip(text))) if text else None


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Data addresses only for embedded images, and no image from anywhere else."""
    if (tag, name) == ("img", "src"):
        match = re.fullmatch(r"data:(image/(?:png|jpeg));base64,([A-Za-z0-9+/=\s]*)", value)
        good = match and is_image(match[1], match[2])
        return value if good else None
    if name == "href":
        return value if re.match(r"(https?://|mailto:|#)", value, re.IGNORECASE) else None
    return value


def _text(value: Any) -> str:
    """A text of the notebook's JSON, which may be a list of lines."""
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
