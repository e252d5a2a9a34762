"""What the HTML pages share: escaping templates, names that stay in their folder, writing."""

import hashlib
import os
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from .wording import SIGNS, WORDS, case_words, number, one_line, status_words, visible

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_NAME = 100


def render(template: str, **values: Any) -> str:
    """Fill a template; every value is escaped unless it is Markup."""
    return _environment().get_template(template).render(values)


def write_atomically(path: Path, text: str) -> None:
    """Write a text as UTF-8, so that a reader sees the whole of the old or of the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(text.encode("utf-8", "replace"))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """A name as one part of a path: itself where it is harmless, else a readable part and a hash.

    Different names give different parts: `~` stands only in those that were changed.
    """
    plain = re.fullmatch(r"[^\W_](?:[\w .@+-]*[\w@+-])?", name)
    if plain and len(name.encode()) <= LONGEST_NAME and unicodedata.is_normalized("NFC", name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:40]
    return f"{readable}~{digest}"


def feedback_path(student: str, lab: str) -> Path:
    """Where a student's feedback page lies below the feedback folder."""
    return Path(safe_name(student)) / f"{safe_name(lab)}.html"


def feedback_link(student: str, lab: str) -> str:
    """The feedback page's address, relative to the report."""
    return quote(f"feedback/{feedback_path(student, lab).as_posix()}", safe="/~@+")


def ticks(text: str) -> Markup:
    """A sentence with its `code` in code elements; everything else is escaped."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        ticks=ticks,
        case_words=case_words,
        visible=visible,
        one_line=one_line,
        status_words=status_words,
        feedback_link=feedback_link,
    )
    environment.globals.update(SIGNS=SIGNS, WORDS=WORDS)
    return environment
