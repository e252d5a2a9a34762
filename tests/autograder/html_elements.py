"""What a browser would make of a page: its elements, and everything in them that could act."""

import re
from html.parser import HTMLParser

ACTIVE = {
    "script", "iframe", "object", "embed", "form", "input", "base", "link", "frame", "applet",
    "audio", "video", "source", "portal", "template", "noscript", "foreignobject", "animate",
}  # fmt: skip
LOADING = {"src", "srcset", "poster", "background", "data", "action", "formaction", "ping"}


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.space(tag)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self.space(tag)

    def space(self, tag: str) -> None:
        """Part the text where an element parts it on the page."""
        if tag in {"div", "h1", "h2", "h3", "li", "p", "pre", "span", "table", "td", "th", "tr"}:
            self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def dangers(page: str) -> list[str]:
    """Everything on a page that runs, loads from outside, or leads to a script."""
    found = []
    for tag, attributes in Elements(page).elements:
        if tag in ACTIVE:
            found.append(f"<{tag}>")
        for name, value in attributes.items():
            plain = re.sub(r"[\x00-\x20]", "", value).lower()
            if name.startswith("on"):
                found.append(f"<{tag} {name}>")
            if name in LOADING and not plain.startswith(("data:image/png;", "data:image/jpeg;")):
                found.append(f"<{tag} {name}={value!r}>")
            harmless = r"https?://|mailto:|#|feedback/|report[\w.-]*\.html$"
            if name.endswith("href") and not re.match(harmless, plain):
                found.append(f"<{tag} {name}={value!r}>")
            if name == "style" and re.search(r"url\((?!['\"]?#)|expression|@import|fixed", plain):
                found.append(f"<{tag} style={value!r}>")
            if tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
                found.append("<meta refresh>")
    return found
