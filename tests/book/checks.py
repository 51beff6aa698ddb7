"""Checks of a built book; each takes the folder of its pages and returns what is wrong, as sentences."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
#: A formula that MathJax did not set, or set as an error.
MATHS = """async () => {
  const wanted = [...document.querySelectorAll('.math')].filter(node => !node.querySelector('.math'));
  if (!wanted.length) return [];
  if (!window.MathJax || !MathJax.startup) return ['MathJax is not loaded'];
  await MathJax.startup.promise;
  const bad = wanted.filter(node =>
    !node.querySelector('mjx-container') || node.querySelector('mjx-merror, mjx-mtext[style*=red]'));
  return bad.map(node => 'formula is not typeset: ' + node.textContent.trim().slice(0, 80));
}"""
BROKEN = """() => [...document.images].filter(i => !i.complete || !i.naturalWidth)
  .map(i => 'image does not show: ' + i.src)"""
WIDE = """() => document.documentElement.scrollWidth > innerWidth + 1
  ? ['the page is ' + document.documentElement.scrollWidth + ' px wide on a screen of ' + innerWidth] : []"""
#: Luminance (0 to 1) of the page's background and of its text.
LIGHT = """() => [['backgroundColor', 'body'], ['color', 'article p']].map(([key, where]) => {
  const node = document.querySelector(where);
  const [r, g, b] = getComputedStyle(node)[key].match(/[\\d.]+/g).map(Number);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
})"""


def chromium() -> str | None:
    """Path of a Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for found in map(shutil.which, ("/usr/bin/chromium", *names)) if found), None)


def pages(html: Path) -> list[Path]:
    """All pages of a book, relative to its folder."""
    found = (path.relative_to(html) for path in sorted(html.rglob("*.html")))
    return [path for path in found if path.parts[0] not in ("_static", "_sources")]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server for a folder on this machine; gives its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _visit(page: Any, address: str, home: str) -> list[str]:
    """Open one page; what its console, its requests, its formulas, images and layout have to complain about."""
    found: list[str] = []
    page.on("console", lambda m: found.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(f"script error: {error}"))
    page.on("requestfailed", lambda r: found.append(f"request failed: {r.url}"))
    page.on("response", lambda r: found.append(f"status {r.status}: {r.url}") if r.status >= 400 else None)

    inside = (home, "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(inside) or found.append(f"request to elsewhere: {r.url}"))
    page.goto(address, wait_until="load")
    page.evaluate("() => document.fonts.ready.then(() => null)")
    for script in (MATHS, BROKEN, WIDE):
        found += page.evaluate(script)
    if page.locator("h1:visible").count() != 1:
        found.append(f"{page.locator('h1:visible').count()} visible headings of the first level, not one")
    return found


def browser_problems(html: Path, executable: str) -> list[str]:
    """Every page in headless Chromium, served and, for the first one, opened as a file; light, dark and narrow."""
    from playwright.sync_api import sync_playwright

    problems: list[str] = []
    with served(html) as home, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            visits = [(f"{home}/{path.as_posix()}", home, "light", 1280) for path in pages(html)]
            visits += [(f"{home}/index.html", home, "dark", 1280), (f"{home}/index.html", home, "light", 390)]
            visits += [((html / "index.html").as_uri(), "file://", "light", 1280)]
            screens: dict[tuple[str, int], Any] = {}
            for address, inside, scheme, width in visits:
                if (scheme, width) not in screens:
                    viewport = {"width": width, "height": 900}
                    screens[scheme, width] = browser.new_context(color_scheme=scheme, viewport=viewport)
                page = screens[scheme, width].new_page()
                found = _visit(page, address, inside)
                if address.endswith("/index.html"):
                    background, text = page.evaluate(LIGHT)
                    if (background < text) != (scheme == "dark") or abs(background - text) < 0.5:
                        found.append(f"{scheme} mode: background {background:.2f}, text {text:.2f}")
                name = address.removeprefix(home + "/")
                problems += [f"{name}: {problem}" for problem in dict.fromkeys(found)]
                page.close()
        finally:
            browser.close()
    return problems
