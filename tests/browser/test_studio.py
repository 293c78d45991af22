"""The example and its dashboard as a user sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import BOUND_MS, PHONE, browser, overflows, page
from tests.examples.studio import pictures, studio

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]


def enter(shown: Page, url: str, button: str, name: str = "ada") -> None:
    shown.goto(url)
    shown.get_by_label("Name").fill(name)
    shown.get_by_label("Password").fill("enigma-1815")
    shown.get_by_role("button", name=button).click()


def add(shown: Page, *paths: Path) -> None:
    expect(shown.get_by_text("Add photos")).to_be_visible()
    shown.locator("#files").set_input_files(paths)


def ready(shown: Page, number: int) -> None:
    """Waits for so many photos, each with its thumbnail loaded."""
    shown.wait_for_function(
        """number => {
            const images = [...document.querySelectorAll("#photos li[data-state=ready] img")];
            return images.length === number && images.every((one) => one.naturalWidth === 320);
        }""",
        arg=number,
        timeout=BOUND_MS,
    )


def test_register_upload_and_watch(tmp_path: Path, chromium_path: str) -> None:
    photos = pictures(tmp_path / "in", 3)
    with studio(tmp_path / "run") as program, browser(chromium_path) as opened:
        url = program.url()
        with page(opened) as shown:
            enter(shown, url, "Register")
            expect(shown.get_by_text("No photos yet")).to_be_visible()
            add(shown, *photos)
            ready(shown, 3)
            expect(shown.get_by_text("you were told")).to_have_count(3)
            shown.get_by_role("button", name="Open hill-1").click()
            expect(shown.locator("#viewer-picture")).to_be_visible()
            shown.keyboard.press("Escape")
            shown.reload()
            ready(shown, 3)
            see_the_jobs(shown, url)
        with page(opened, size=PHONE) as shown:
            enter(shown, url, "Log in")
            ready(shown, 3)
            assert not overflows(shown)
            for view in ("", "jobs", "workers", "schedules"):
                shown.goto(f"{url}/_pelton/#/{view}")
                expect(shown.get_by_role("status").first).to_have_text("live")
                assert not overflows(shown)


def see_the_jobs(shown: Page, url: str) -> None:
    """The dashboard shows what happened to the photos."""
    shown.goto(f"{url}/_pelton")
    expect(shown.get_by_role("link", name="9 succeeded in images")).to_be_visible()
    shown.get_by_role("link", name="9 succeeded in images").click()
    rows = shown.get_by_role("table", name="Jobs").locator("tbody tr")
    expect(rows).to_have_count(9)
    rows.first.get_by_role("link").click()
    detail = shown.get_by_role("dialog")
    expect(detail.get_by_text("tasks.make_size")).to_be_visible()
    expect(detail.get_by_text('"photo_id"')).to_be_visible()
    shown.keyboard.press("Escape")
    expect(detail).not_to_be_visible()
    expect(rows).to_have_count(9)
    shown.get_by_role("link", name="Workers").click()
    expect(shown.get_by_role("table", name="Workers").get_by_text(", pid ").first).to_be_visible()
    shown.get_by_role("link", name="Schedules").click()
    expect(shown.get_by_text("tasks.clean_up").first).to_be_visible()


def test_refusals_are_told(tmp_path: Path, chromium_path: str) -> None:
    text = tmp_path / "letter.jpg"
    text.write_text("not a picture")
    with (
        studio(tmp_path / "run") as program,
        browser(chromium_path) as opened,
        # The browser notes each refused request in its console.
        page(opened, allowed="Failed to load resource") as shown,
    ):
        enter(shown, program.url(), "Log in")
        expect(shown.get_by_role("alert")).to_have_text("Name or password is wrong.")
        shown.get_by_role("button", name="Register").click()
        add(shown, text)
        expect(shown.get_by_text("letter.jpg: This is not a JPEG")).to_be_visible()
        shown.get_by_role("button", name="Log out").click()
        expect(shown.get_by_label("Password")).to_be_visible()


def test_progress_goes_on_after_the_server_was_away(tmp_path: Path, chromium_path: str) -> None:
    photos = pictures(tmp_path / "in", 2)
    with (
        studio(tmp_path / "run") as program,
        browser(chromium_path) as opened,
        page(opened, allowed="WebSocket connection") as shown,
    ):
        enter(shown, program.url(), "Register")
        add(shown, *photos)
        expect(shown.locator("#photos li[data-state]")).to_have_count(2)
        [web] = program.parts("serve")
        web.kill()
        ready(shown, 2)
        expect(shown.get_by_text("you were told")).to_have_count(2)
