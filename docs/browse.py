"""Open every page in a headless Chromium: `python docs/browse.py docs/_build/html`; exit code 1 if something is wrong.

Wrong are broken links and anchors, what the console complains of, whatever is asked from outside, text that is wider
than a telephone, and a search that finds nothing. Needs `pip install playwright` and a `chromium` on the path.
"""

import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urldefrag

from playwright.sync_api import Page, sync_playwright

WIDE, NARROW = {"width": 1300, "height": 900}, {"width": 390, "height": 800}
LINKS = "found => found.map(element => element.href)"
IDS = "found => found.map(element => element.id)"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def wrong(page: Page, base: str) -> Iterator[str]:
    """Walk through all pages that can be reached from the first, and yield what is wrong."""
    waiting, seen = [f"{base}index.html"], set()
    anchors: list[tuple[str, str, str]] = []
    ids: dict[str, set[str]] = {}
    while waiting:
        url = waiting.pop()
        if url in seen:
            continue
        seen.add(url)
        answer = page.goto(url)
        if answer is None or answer.status >= 400:
            yield f"{url}: cannot be opened"
        elif url.endswith(".html"):
            ids[url] = set(page.eval_on_selector_all("[id]", IDS))
            for link in page.eval_on_selector_all("a[href]", LINKS):
                target, anchor = urldefrag(link)
                if target.startswith(base):
                    waiting.append(target)
                    if anchor:
                        anchors.append((url, target, unquote(anchor)))
            page.set_viewport_size(NARROW)
            if page.evaluate("document.documentElement.scrollWidth") > NARROW["width"]:
                yield f"{url}: is wider than a telephone"
            page.set_viewport_size(WIDE)
    for url, target, anchor in anchors:
        if target in ids and anchor not in ids[target]:
            yield f"{url}: links to {target}#{anchor}, which is not there"
    page.goto(f"{base}search.html?q=rolled+back")
    page.wait_for_timeout(2000)
    if not page.locator("#search-results li").count():
        yield "the search finds nothing"
    print(f"{len(seen)} pages were opened")


def main(folder: str) -> int:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    found: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=WIDE)
        page.on("console", lambda said: found.append(f"{page.url}: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
        page.on("request", lambda asked: None if asked.url.startswith((base, "data:")) else found.append(asked.url))
        found += wrong(page, base)
        browser.close()
    server.shutdown()
    print(*dict.fromkeys(found), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
