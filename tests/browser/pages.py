"""Debian's chromium, driven by Playwright; a page that complains is a failure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

# Headless, without a sandbox (tests may run as root), and without calls to hosts of its maker.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1200, "height": 850}
BOUND_MS = 30_000


@contextlib.contextmanager
def browser(executable: str) -> Iterator[Browser]:
    """A browser, closed afterwards."""
    expect.set_options(timeout=BOUND_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def page(opened: Browser, *, size: Any = DESKTOP, allowed: str = "") -> Iterator[Page]:
    """A page of its own context. Errors on it fail the test, unless they contain `allowed`."""
    context = opened.new_context(viewport=size)
    context.set_default_timeout(BOUND_MS)
    shown = context.new_page()
    complaints: list[str] = []
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    try:
        yield shown
        bad = [text for text in complaints if not allowed or allowed not in text]
        assert not bad, bad
    finally:
        context.close()


def overflows(shown: Page) -> bool:
    """Whether the page is wider than the screen."""
    wide: bool = shown.evaluate(
        "document.scrollingElement.scrollWidth > document.documentElement.clientWidth"
    )
    return wide
