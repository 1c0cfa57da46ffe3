"""A headless Chromium for tests of what people see: the system's own, driven by Playwright.

`python -m tests.browser` says which one that is, or how to get one.
"""

import io
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from matplotlib.image import imread
from playwright.sync_api import Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
REMEDY = "apt-get install chromium, or set CHROMIUM=/path/to/it"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A page and what it did."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """Every address that it asked for, its own included."""
    blocked: list[str] = field(default_factory=list)
    """Those of them that were not let through."""
    errors: list[str] = field(default_factory=list)
    """Exceptions of its scripts."""

    def judge(self, route: Route, allowed: str) -> None:
        """Let a request through or not."""
        url = route.request.url
        self.requests.append(url)
        if url.startswith(allowed):
            route.continue_()
        else:
            self.blocked.append(url)
            route.abort()


def chromium() -> str:
    """The Chromium of the system.

    Raises:
        FileNotFoundError: saying how to get one.
    """
    named = os.environ.get("CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise FileNotFoundError(f"CHROMIUM={named} is no program; {REMEDY}")
        return found
    for name in (*NAMES, str(MAC)):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(f"no Chromium ({', '.join(NAMES)}): {REMEDY}")


@contextmanager
def visit(allowed: str, *, width: int = 1440, height: int = 900) -> Iterator[Visit]:
    """An empty page in a fresh profile that may ask only for what begins with `allowed`."""
    host = urlsplit(allowed).hostname or "127.0.0.1"
    # The browser's own traffic, such as updates, passes no page: no other name is resolved.
    arguments = [f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {host}"]
    arguments += ["--disable-gpu", "--disable-quic", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height}, service_workers="block"
            )
            seen = Visit(page=context.new_page())
            seen.page.set_default_timeout(60_000)  # of milliseconds: two busy cores are slow
            seen.page.route("**/*", lambda route: seen.judge(route, allowed))
            seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
            yield seen
        finally:
            browser.close()


def report_screenshot(report: Path, path: Path) -> None:
    """A picture of the upper part of a sweep's page."""
    with visit(report.as_uri(), width=1240, height=1250) as seen:
        seen.page.goto(report.as_uri())
        seen.page.locator(".js-plotly-plot .main-svg").first.wait_for()
        seen.page.screenshot(path=path)


def has_colour(page: Page, places: Iterable[tuple[float, float]]) -> list[bool]:
    """Whether there is anything but white and grey within some pixels of each place."""
    picture = imread(io.BytesIO(page.screenshot()))
    found = []
    for x, y in places:
        spot = picture[round(y) - 4 : round(y) + 5, round(x) - 1 : round(x) + 2, :3]
        found.append(bool(np.ptp(spot, axis=2).max() > 0.08))  # of 1; a thin line is pale
    return found


if __name__ == "__main__":
    try:
        print(chromium())
    except FileNotFoundError as error:
        sys.exit(str(error))
