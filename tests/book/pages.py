"""What is wrong with finished pages, as far as that shows without a browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

#: What a style sheet fetches from another site.
_CSS = re.compile(r"(?:@import\s*|url\()[\s'\"]*((?:https?:)?//[^'\")\s]+)")
#: `rel` of links that a browser follows by itself.
_LOADED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect"}


def book_problems(html: str | Path) -> list[str]:
    """Defects of a folder of pages, one sentence each.

    Links, anchors and files that do not exist; anything loaded from another site; pages without exactly one visible
    `<h1>`; images without alternative text; double braces that nothing filled. Links to other sites that a reader may
    follow are no defects: nothing is fetched until they are clicked.
    """
    html = Path(html).resolve()
    if not (html / "index.html").is_file():
        return [f"{html} has no index.html"]
    files = [path for path in sorted(html.rglob("*.html")) if path.relative_to(html).parts[0] != "_static"]
    pages = {path: BeautifulSoup(path.read_text(), "html.parser") for path in files}
    keys = "id", "name"
    anchors = {path: {str(tag[k]) for k in keys for tag in soup.select(f"[{k}]")} for path, soup in pages.items()}
    problems = []
    for path, soup in pages.items():
        found = [*_content(soup), *_links(path, soup, anchors)]
        problems += [f"{path.relative_to(html).as_posix()}: {problem}" for problem in found]
    for sheet in sorted(html.rglob("*.css")):
        found = [f"loads {address} from elsewhere" for address in _CSS.findall(sheet.read_text())]
        problems += [f"{sheet.relative_to(html).as_posix()}: {problem}" for problem in found]
    return list(dict.fromkeys(problems))


def _content(soup: BeautifulSoup) -> Iterator[str]:
    """Headings, descriptions of images, unfilled braces, styles."""
    headings = [h1 for h1 in soup.find_all("h1") if not h1.find_parent(class_="onlyprint")]
    if len(headings) != 1:
        yield f"{len(headings)} <h1> headings, not one"
    yield from (f"image {img.get('src')} has no alternative text" for img in soup.find_all("img") if not img.get("alt"))
    prose = " ".join(text for text in soup.find_all(string=True) if not text.find_parent(["pre", "code", "script"]))
    yield from (f"unfilled {found.strip()}" for found in re.findall(r"\{\{.{0,60}", prose))
    styles = " ".join(style.get_text() for style in soup.find_all("style"))
    yield from (f"loads {address} from elsewhere" for address in _CSS.findall(styles))


def _links(path: Path, soup: BeautifulSoup, anchors: dict[Path, set[str]]) -> Iterator[str]:
    """Addresses that lead nowhere, or that are loaded from another site."""
    links = soup.find_all("link", href=True)
    wanted = [(str(tag["href"]), False) for tag in soup.find_all("a", href=True)]
    wanted += [(str(tag["href"]), bool(_LOADED & set(tag.get("rel") or ()))) for tag in links]
    wanted += [(str(tag["src"]), True) for tag in soup.find_all(src=True)]
    for address, loaded in wanted:
        where = urlsplit(address)
        if where.scheme == "data":
            continue
        if where.scheme or where.netloc:
            if loaded:
                yield f"loads {address} from elsewhere"
            continue
        target = (path.parent / unquote(where.path)).resolve() if where.path else path
        if not target.is_file():
            yield f"{address} does not exist"
        elif where.fragment and target in anchors and unquote(where.fragment) not in anchors[target]:
            yield f"{address} has no such anchor"
