"""Checks what was built: `python docs/check.py` after `sphinx-build`.

Every public name is on a page, every link within the site leads somewhere, nothing is
loaded from elsewhere, and every test that a page names exists.
"""

from __future__ import annotations

import pathlib
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import reference

DOCS = pathlib.Path(__file__).parent
HTML = DOCS / "_build" / "html"
_LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src")}


class Page(HTMLParser):
    """The anchors of a page, and what it links to and loads."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what an element links to."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if (tag, name) in _LOADED and value:
                self.loaded.append(value)
            if (tag, name) == ("a", "href") and value:
                self.links.append(value)


def main() -> int:
    """Prints what is wrong, and returns the exit status."""
    pages = {path: Page(path) for path in sorted(HTML.rglob("*.html"))}
    if not pages:
        raise SystemExit(f"{HTML} has no pages; run sphinx-build first.")
    faults = [
        *missing_names(pages),
        *bad_links(pages),
        *remote(pages),
        *missing_tests(),
    ]
    print(*faults, f"{len(pages)} pages, {len(faults)} faults", sep="\n")
    return 1 if faults else 0


def missing_names(pages: dict[pathlib.Path, Page]) -> list[str]:
    """Public names that no page describes."""
    anchors = set().union(*(page.anchors for page in pages.values()))
    return [f"no entry for {name}" for name in set(reference.public_names()) - anchors]


def bad_links(pages: dict[pathlib.Path, Page]) -> list[str]:
    """Links within the site to pages or anchors that are not there."""
    faults = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchor = unquote(url.fragment)
            known = anchor in pages[target].anchors if target in pages else not anchor
            if not target.exists() or (anchor and not known):
                faults.append(f"{path.relative_to(HTML)}: no target of {link}")
    return faults


def remote(pages: dict[pathlib.Path, Page]) -> list[str]:
    """What a page would load from elsewhere."""
    return [
        f"{path.relative_to(HTML)}: loads {link}"
        for path, page in pages.items()
        for link in page.loaded
        if urlsplit(link).netloc
    ]


def missing_tests() -> list[str]:
    """Tests that a page names and nobody wrote."""
    faults = []
    for path in sorted(DOCS.glob("*.md")):
        for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text()):
            source = DOCS.parent / file
            if not source.exists() or f"def {test}(" not in source.read_text():
                faults.append(f"{path.name}: no test {file}::{test}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
