"""A browser for the tests of the pages, and what every page must pass."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
FLAGS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


def find_browser() -> str:
    """The path of a Chromium or Chrome: on the PATH, or Playwright's own."""
    if found := _present():
        return found
    raise RuntimeError(
        f"no Chromium or Chrome was found: none of {', '.join(NAMES)} is on the PATH. Install one "
        "(Debian and Ubuntu: apt-get install chromium), or `python -m playwright install chromium`."
    )


def _present() -> str | None:
    for name in NAMES:
        if (path := shutil.which(name)) and _runs(path):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        path = play.chromium.executable_path
    return path if Path(path).exists() and _runs(path) else None


def _runs(path: str) -> bool:
    """Whether the browser starts: a stub or a browser without its libraries does not."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def browser():
    """Yield a running headless browser (Playwright's `Browser`)."""
    path = find_browser()
    from playwright.sync_api import sync_playwright

    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=FLAGS + ["--no-sandbox"] * root)
        try:
            yield running
        finally:
            running.close()


def watch(page) -> list[str]:
    """Block what `page` requests from outside; return the list that fills with its problems."""
    problems = []

    def route(route):
        url = route.request.url
        if url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            problems.append(f"outside request: {url}")
            route.abort()

    page.route("**/*", route)
    page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    page.on(
        "requestfailed",
        lambda r: problems.append(f"missing file: {r.url}") if r.url.startswith("file:") else None,
    )
    return problems


def overflow(page, width: int = 360) -> list[str]:
    """Return what makes the page, or an explorer on it, scroll sideways in a window `width` px wide."""
    size = page.viewport_size
    page.set_viewport_size({"width": width, "height": 740})
    page.wait_for_timeout(150)
    for _ in range(40):  # figures take a moment to follow the window, longer on a busy machine
        wide = page.evaluate(
            """() => {
              const page = document.documentElement;
              const cut = [...document.querySelectorAll('.wmhqc, .wmhqc-static, .wmhqc-plotly')].filter(
                (e) => e.scrollWidth > e.clientWidth + 2);
              if (cut.length) return [`cut off: ${cut.length} explorers or figures`];
              if (page.scrollWidth <= page.clientWidth) return [];
              const beyond = [...document.querySelectorAll('body *')].filter(
                (e) => e.getBoundingClientRect().right > page.clientWidth + 1);
              return [`${page.scrollWidth} px: ` + beyond.slice(0, 5).map(
                (e) => `${e.tagName}.${e.getAttribute('class') || ''}`).join(', ')];
            }"""
        )
        if not wide:
            break
        page.wait_for_timeout(100)
    page.set_viewport_size(size)
    return [f"sideways scrolling at {width} px, {text}" for text in wide]


def accessibility(page, within: str | None = None) -> list[str]:
    """Return the violations of axe-core's rules.

    All rules for the part of the page that the selector `within` names; for a whole page
    those of WCAG 2.2 A and AA, as the theme's landmarks are not ours.
    """
    from axe_playwright_python.sync_playwright import Axe

    # axe would fetch the style sheets, which a file may not, and speak to frames, which a page from
    # a file may not; the report that a frame shows has tests of its own
    options = {"preload": False, "iframes": False}
    if not within:
        options["runOnly"] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    violations = Axe().run(page, context=within, options=options).response["violations"]
    return [
        f"axe {found['id']} ({found['help']}): {node['html'][:160]}"
        for found in violations
        for node in found["nodes"][:3]
    ]


def check_page(page, url: str, themes=("light", "dark")) -> list[str]:
    """Open `url` and return its problems: scripts, requests, widgets, access in each theme, width.

    `page` must be a fresh Playwright page; it stays open for further checks.
    """
    problems = watch(page)
    page.goto(url)
    page.wait_for_timeout(200)
    # Figures load when they come into view.
    for figure in page.query_selector_all(".wmhqc-plotly"):
        figure.scroll_into_view_if_needed()
    if page.query_selector(".wmhqc-plotly"):
        try:
            page.wait_for_function(
                "document.querySelectorAll('.wmhqc-plotly').length"
                " === document.querySelectorAll('.wmhqc-plotly .main-svg:first-child').length",
                timeout=60_000,
            )
        except Exception as error:  # the page's problem, reported with the others
            problems.append(f"a Plotly figure was not drawn: {str(error).splitlines()[0]}")
    dead = "document.querySelectorAll('.wmhqc-static:not(:has(> .wmhqc))').length"
    try:  # they start at once, but on a busy machine
        page.wait_for_function(f"{dead} === 0", timeout=10_000)
    except Exception:  # the page's problem, reported with the others
        problems.append(f"{page.evaluate(dead)} explorers did not start")
    for theme in themes:
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(300)  # colours fade
        problems += [f"{theme}: {text}" for text in accessibility(page)]
    return problems + overflow(page)
