"""The dashboard in a browser: failed jobs, queues, and what it says when there is nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.pages import browser, page
from tests.cli.program import running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

SHOP = """
import os
from pelton.jobs import Jobs
from pelton.web import FastAPI

jobs = Jobs("sqlite:///jobs.db")
app = FastAPI(jobs=jobs)

@jobs.task(retries=0)
async def deliver(parcel: int) -> str:
    if not os.path.exists("street"):
        raise LookupError("there is no such street")
    return f"delivered {parcel}"

@app.post("/deliver")
async def order(parcel: int) -> str:
    return (await deliver.enqueue(parcel)).id
"""

PARCELS = """
from pelton.jobs import chain

@jobs.task
async def wrap() -> None: ...

@jobs.task
async def wait() -> None: ...

@app.post("/parcels")
async def parcels() -> None:
    await chain(wrap.si(), wait.options(delay=3600).si()).enqueue()

@app.post("/tomorrow")
async def tomorrow() -> None:
    await wait.options(delay=86_400).enqueue_many([()] * 3)
"""


def test_a_dead_job_is_retried(tmp_path: Path, chromium_path: str) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with (
        running("run", "shop:app", "--port", "0", directory=tmp_path) as program,
        browser(chromium_path) as opened,
        page(opened) as shown,
    ):
        url = program.url()
        shown.goto(f"{url}/_pelton")
        expect(shown.get_by_text("No job was enqueued yet")).to_be_visible()
        httpx.post(f"{url}/deliver", params={"parcel": 7}).raise_for_status()
        shown.get_by_role("link", name="1 dead in default").click()
        shown.get_by_role("link", name="shop.deliver").click()
        detail = shown.get_by_role("dialog")
        expect(
            detail.get_by_text("LookupError: there is no such street", exact=True)
        ).to_be_visible()
        detail.get_by_text("Traceback", exact=True).click()
        expect(detail.get_by_text("in deliver")).to_be_visible()
        (tmp_path / "street").touch()
        detail.get_by_role("button", name="Retry").click()
        expect(detail.get_by_text("delivered 7")).to_be_visible()
        shown.keyboard.press("Escape")
        expect(shown.get_by_text("No job matches these filters")).to_be_visible()


def test_a_queue_is_paused_and_a_job_cancelled(tmp_path: Path, chromium_path: str) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "street").touch()
    with (
        running("run", "shop:app", "--port", "0", directory=tmp_path) as program,
        browser(chromium_path) as opened,
        page(opened) as shown,
    ):
        url = program.url()
        httpx.post(f"{url}/deliver", params={"parcel": 1}).raise_for_status()
        shown.goto(f"{url}/_pelton")
        shown.get_by_role("button", name="Pause default").click()
        expect(shown.get_by_text("paused", exact=True)).to_be_visible()
        httpx.post(f"{url}/deliver", params={"parcel": 2}).raise_for_status()
        shown.get_by_role("link", name="1 queued in default").click()
        shown.get_by_role("button", name="cancel shop.deliver").click()
        expect(shown.get_by_text("No job matches these filters")).to_be_visible()
        shown.get_by_role("link", name="Overview").click()
        expect(shown.get_by_role("link", name="1 cancelled in default")).to_be_visible()
        shown.get_by_role("button", name="Resume default").click()
        expect(shown.get_by_role("button", name="Pause default")).to_be_visible()


def test_workflows_and_queues_are_ended(tmp_path: Path, chromium_path: str) -> None:
    (tmp_path / "shop.py").write_text(SHOP + PARCELS)
    with (
        running("run", "shop:app", "--port", "0", directory=tmp_path) as program,
        browser(chromium_path) as opened,
        page(opened) as shown,
    ):
        url = program.url()
        shown.goto(f"{url}/_pelton#/workflows")
        expect(shown.get_by_text("there is no workflow")).to_be_visible()
        httpx.post(f"{url}/parcels").raise_for_status()
        row = shown.get_by_role("row", name="shop.wrap, shop.wait")
        expect(row.get_by_text("1 of 2")).to_be_visible()
        row.get_by_role("button", name="Cancel").click()
        expect(row.get_by_text("2 of 2")).to_be_visible()
        expect(row.get_by_role("button", name="Cancel")).to_be_hidden()
        row.get_by_role("link", name="shop.wrap, shop.wait").click()
        expect(shown.get_by_role("link", name="shop.wait")).to_be_visible()
        shown.get_by_role("link", name="Overview").click()
        purge = shown.get_by_role("button", name="Purge default")
        expect(purge).to_be_hidden()
        httpx.post(f"{url}/tomorrow").raise_for_status()
        purge.click()
        expect(purge).to_have_text("Cancel 3 jobs?")
        purge.click()
        expect(shown.get_by_role("link", name="4 cancelled in default")).to_be_visible()
        expect(purge).to_be_hidden()


def test_an_app_without_jobs_is_explained(tmp_path: Path, chromium_path: str) -> None:
    (tmp_path / "plain.py").write_text("from pelton.web import FastAPI\napp = FastAPI()\n")
    with (
        running("run", "plain:app", "--port", "0", directory=tmp_path) as program,
        browser(chromium_path) as opened,
        page(opened) as shown,
    ):
        shown.goto(f"{program.url()}/_pelton")
        expect(shown.get_by_text("has no Jobs object")).to_be_visible()
        for view, says in (("Workers", "No worker is running"), ("Schedules", "Nothing is on")):
            shown.get_by_role("link", name=view).click()
            expect(shown.get_by_text(says)).to_be_visible()
