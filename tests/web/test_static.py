"""Static files and built front ends against what clients ask for, over a real socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pelton.web import Depends, FastAPI, HTTPException
from pelton.web.staticfiles import StaticFiles
from pelton.web.testclient import TestClient
from tests.server.support import Response, run, serving

SECRET = "outside of what is served"


@dataclass
class Site:
    """A directory that is served, and one beside it that is not."""

    root: Path
    app: FastAPI

    def ask(self, target: str, method: str = "GET", **headers: str) -> Response:
        """The server's answer to exactly this target."""
        lines = [f"{method} {target} HTTP/1.1", "host: site"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        request = "\r\n".join(lines) + "\r\n\r\n"
        answers: list[Response] = []

        async def main() -> None:
            async with serving(self.app) as address:
                answers.append(await address.ask(request.encode("latin-1")))

        run(main())
        return answers[0]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Site]:
    root = tmp_path / "public"
    (root / "docs").mkdir(parents=True)
    (root / "page.html").write_text("<p>page</p>")
    (root / "data.bin").write_bytes(bytes(range(100)))
    (root / "docs/index.html").write_text("docs")
    (root / "index.html").write_text("home")
    (root / "404.html").write_text("not here")
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "public-but-not").mkdir()
    (tmp_path / "public-but-not/secret.txt").write_text(SECRET)
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "linked").symlink_to(tmp_path / "public-but-not")
    (root / "inside.html").symlink_to(root / "page.html")

    def site(kind: str = "static", **options: object) -> Site:
        app = FastAPI()
        if kind == "static":
            app.mount("/files", StaticFiles(directory=root, **options))  # type: ignore[arg-type]
        else:
            app.frontend("/files", directory=root, **options)  # type: ignore[arg-type]
        return Site(root, app)

    return site


TRAVERSALS = [
    "../secret.txt",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "%2e%2e%2fsecret.txt",
    "docs/../../secret.txt",
    "docs/%2e%2e/%2e%2e/secret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "%252e%252e/secret.txt",
    "....//secret.txt",
    "./../secret.txt",
    "//secret.txt",
    "../public-but-not/secret.txt",
    "..%2fpublic-but-not%2fsecret.txt",
    "page.html/../../secret.txt",
    "%00../secret.txt",
    "page.html%00.txt",
    "x" * 300,
    "%c0%ae%c0%ae/secret.txt",
]


@pytest.mark.parametrize("kind", ["static", "frontend"])
@pytest.mark.parametrize("target", TRAVERSALS)
def test_nothing_outside_is_served(make: Callable[..., Site], kind: str, target: str) -> None:
    answer = make(kind).ask(f"/files/{target}")
    assert answer.status in (400, 404)
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("kind", ["static", "frontend"])
def test_an_absolute_path_is_below_the_directory(make: Callable[..., Site], kind: str) -> None:
    site = make(kind)
    answer = site.ask(f"/files/{site.root.parent / 'secret.txt'}")
    assert (answer.status, SECRET.encode() in answer.body) == (404, False)


@pytest.mark.parametrize("target", ["link.txt", "linked/secret.txt"])
def test_links_that_lead_out_are_not_followed(make: Callable[..., Site], target: str) -> None:
    assert make().ask(f"/files/{target}").status == 404
    assert make("frontend").ask(f"/files/{target}").status == 404
    # Who wants that says so.
    followed = make(follow_symlink=True).ask(f"/files/{target}")
    assert (followed.status, followed.body) == (200, SECRET.encode())


def test_a_link_that_stays_inside_is_a_file(make: Callable[..., Site]) -> None:
    assert make().ask("/files/inside.html").body == b"<p>page</p>"


def test_a_file_comes_with_what_caches_need(make: Callable[..., Site]) -> None:
    site = make()
    answer = site.ask("/files/page.html")
    assert answer.status == 200
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert answer.header("content-length") == "11"
    etag, modified = answer.header("etag"), answer.header("last-modified")
    assert etag is not None
    assert modified is not None
    assert site.ask("/files/page.html", if_none_match=etag).status == 304
    assert site.ask("/files/page.html", if_none_match=f'"other", {etag}').status == 304
    assert site.ask("/files/page.html", if_none_match='"other"').status == 200
    assert site.ask("/files/page.html", if_modified_since=modified).status == 304
    os.utime(site.root / "page.html", (2**31, 2**31))
    assert site.ask("/files/page.html", if_none_match=etag).status == 200
    assert site.ask("/files/page.html", if_modified_since=modified).status == 200


def test_head_is_get_without_the_content(make: Callable[..., Site]) -> None:
    answer = make().ask("/files/data.bin", "HEAD")
    assert (answer.status, answer.header("content-length"), answer.body) == (200, "100", b"")
    assert make().ask("/files/data.bin", "POST").status == 405


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "body"),
    [
        ("bytes=0-9", 206, "bytes 0-9/100", bytes(range(10))),
        ("bytes=90-", 206, "bytes 90-99/100", bytes(range(90, 100))),
        ("bytes=-5", 206, "bytes 95-99/100", bytes(range(95, 100))),
        ("bytes=95-1000", 206, "bytes 95-99/100", bytes(range(95, 100))),
        ("bytes=100-", 416, "bytes */100", None),
        ("bytes=200-300", 416, "bytes */100", None),
    ],
)
def test_one_range(
    make: Callable[..., Site], asked: str, status: int, content_range: str, body: bytes | None
) -> None:
    for kind in ("static", "frontend"):
        answer = make(kind).ask("/files/data.bin", range=asked)
        assert (answer.status, answer.header("content-range")) == (status, content_range)
        if body is not None:
            assert answer.body == body
            assert answer.header("content-length") == str(len(body))


def test_several_ranges_come_in_parts(make: Callable[..., Site]) -> None:
    answer = make().ask("/files/data.bin", range="bytes=0-1,50-51")
    assert answer.status == 206
    kind = answer.header("content-type") or ""
    assert kind.startswith("multipart/byteranges; boundary=")
    boundary = kind.partition("boundary=")[2].encode()
    parts = [part for part in answer.body.split(b"--" + boundary) if b"\r\n\r\n" in part]
    assert [part.partition(b"\r\n\r\n")[2].strip(b"\r\n") for part in parts] == [b"\x00\x01", b"23"]
    assert b"content-range: bytes 50-51/100" in parts[1].lower()


@pytest.mark.parametrize("asked", ["bytes=", "bytes=a-b", "bytes=9-0", "bytes=--1"])
def test_ranges_that_are_none_are_bad_requests(make: Callable[..., Site], asked: str) -> None:
    assert make().ask("/files/data.bin", range=asked).status in (400, 416)


def test_if_range_asks_for_the_whole_where_it_has_changed(make: Callable[..., Site]) -> None:
    site = make()
    etag = site.ask("/files/data.bin").header("etag") or ""
    assert site.ask("/files/data.bin", range="bytes=0-0", if_range=etag).status == 206
    changed = site.ask("/files/data.bin", range="bytes=0-0", if_range='"old"')
    assert (changed.status, len(changed.body)) == (200, 100)


def test_directories(make: Callable[..., Site]) -> None:
    assert make().ask("/files/docs").status == 404
    pages = make(html=True)
    assert pages.ask("/files/docs").status == 307
    assert pages.ask("/files/docs/").body == b"docs"
    missing = pages.ask("/files/none")
    assert (missing.status, missing.body) == (404, b"not here")


def test_a_front_end_falls_back_for_pages_only(make: Callable[..., Site]) -> None:
    site = make("frontend", fallback="index.html")
    page = site.ask("/files/deep/link", accept="text/html,*/*;q=0.1")
    assert (page.status, page.body) == (200, b"home")
    assert site.ask("/files/app.js", accept="*/*").status == 404
    assert site.ask("/files/deep/link", "POST", accept="text/html").status == 404
    assert site.ask("/files/page.html", "POST", accept="text/html").status == 405
    redirect = site.ask("/files/docs")
    assert (redirect.status, redirect.header("location")) == (307, "http://site/files/docs/")


def test_a_front_end_stands_behind_its_dependencies_and_all_other_routes(
    make: Callable[..., Site],
) -> None:
    site = make("static")

    async def refuse() -> None:
        raise HTTPException(401)

    from pelton.web import APIRouter

    router = APIRouter(dependencies=[Depends(refuse)])
    router.frontend("/", directory=site.root)
    site.app.include_router(router)

    @site.app.get("/page.html")
    async def own() -> str:
        return "the route's"

    client = TestClient(site.app)
    assert client.get("/page.html").json() == "the route's"
    assert client.get("/data.bin").status_code == 401
    assert client.get("/files/data.bin").status_code == 200
