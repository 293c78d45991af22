"""The example: photos go in, three sizes come out, whatever is killed in between."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets
from PIL import Image

from tests.cli.waiting import is_gone, until
from tests.examples.studio import STUDIO, WIDTHS, Client, pictures, studio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TINY_PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


def test_photos_become_ready_in_three_sizes(tmp_path: Path) -> None:
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        assert user.register().status_code == 201
        [path] = pictures(tmp_path / "in", 1)
        photo = user.upload(path).json()
        assert (photo["title"], photo["width"], photo["height"]) == ("hill-0", 1800, 1200)
        until(lambda: user.all_told(1), "the photo")
        [photo] = user.photos()
        for width in WIDTHS:
            picture = httpx.get(f"{program.url()}/{photo['sizes'][str(width)]}")
            with Image.open(io.BytesIO(picture.content)) as made:
                assert (made.format, made.width) == ("WEBP", width)
        assert user.http.delete(f"/photos/{photo['id']}").status_code == 204
        assert user.photos() == []
        assert httpx.get(f"{program.url()}/{photo['sizes']['320']}").status_code == 404
        assert program.stop() == 0


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    files = {
        "text.jpg": b"not a picture, whatever its name says",
        "broken.png": TINY_PNG,
        "empty.webp": b"",
    }
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        user.register()
        for name, content in files.items():
            path = tmp_path / name
            path.write_bytes(content)
            answer = user.upload(path)
            assert answer.status_code == 415, name
            assert "not a JPEG" in answer.json()["detail"]
        big = tmp_path / "big.jpg"
        with big.open("wb") as file:
            file.truncate(26 * 1024 * 1024)
        assert user.upload(big).status_code == 413
        assert user.photos() == []
        assert list((tmp_path / "run/var/originals").iterdir()) == []


def test_a_picture_whose_pixels_are_broken_fails_visibly(tmp_path: Path) -> None:
    [path] = pictures(tmp_path / "in", 1)
    path.write_bytes(path.read_bytes()[:20_000])
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        user.register()
        assert user.upload(path).status_code == 201
        until(lambda: user.states() == ["failed"], "the failure")
        assert "broken" in user.photos()[0]["problem"]


def test_accounts(tmp_path: Path) -> None:
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        assert user.http.get("/photos").status_code == 401
        assert user.log_in().status_code == 401
        assert user.register().status_code == 201
        assert user.register().status_code == 409
        assert user.log_in().status_code == 200
        assert user.photos() == []
        with Client(program.url(), "bob", "short") as other:
            assert other.register().status_code == 422
        with Client(program.url(), "bob") as other:
            other.register()
            [path] = pictures(tmp_path / "in", 1, width=400)
            photo = user.upload(path).json()
            assert other.photos() == []
            assert other.http.delete(f"/photos/{photo['id']}").status_code == 404
        stored = (tmp_path / "run/var/studio.db").read_bytes()
        assert user.password.encode() not in stored
        assert (tmp_path / "run/var/secret").stat().st_mode & 0o077 == 0


def test_progress_comes_over_the_websocket(tmp_path: Path) -> None:
    async def watch(url: str, token: str, photo_id: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        async with websockets.connect(url.replace("http", "ws") + "/progress") as socket:
            await socket.send(json.dumps({"token": token}))
            await socket.send(json.dumps({"follow": photo_id}))
            async with asyncio.timeout(60):
                while not (seen and seen[-1]["photo"]["notified"]):
                    seen.append(json.loads(await socket.recv()))
        return seen

    async def intrude(url: str) -> int:
        async with websockets.connect(url.replace("http", "ws") + "/progress") as socket:
            await socket.send(json.dumps({"token": "made up"}))
            with contextlib.suppress(websockets.ConnectionClosed):
                await socket.recv()
        assert socket.close_code is not None
        return socket.close_code

    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        token = user.register().json()["access_token"]
        photo = user.upload(pictures(tmp_path / "in", 1)[0]).json()
        seen = asyncio.run(watch(program.url(), token, photo["id"]))
        made = [message["made"] for message in seen]
        assert made == sorted(made)
        assert made[-1] == len(WIDTHS)
        assert {message["photo"]["state"] for message in seen} <= {"processing", "ready"}
        assert asyncio.run(intrude(program.url())) == 1008
        assert program.stop() == 0


def test_killing_a_worker_loses_no_photo(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "in", 6)
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        user.register()
        for path in paths:
            assert user.upload(path).status_code == 201
        [worker] = program.parts("worker")
        pool = [child.pid for child in worker.children(recursive=True)]
        until(lambda: any(busy(pid) for pid in pool) or "ready" in user.states(), "work under way")
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda: "worker is back" in program.err, "the next worker")
        assert all(is_gone(pid) for pid in pool)
        until(lambda: user.all_told(len(paths)), "all photos", bound=90)
        assert program.stop() == 0
    for path in (tmp_path / "run/var/sizes").iterdir():
        with Image.open(path) as picture:
            picture.load()


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "in", 6)
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        user.register()
        for path in paths:
            assert user.upload(path).status_code == 201
        assert program.stop() == 0
        assert "Traceback" not in program.err
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        assert user.log_in().status_code == 200
        assert len(user.photos()) == len(paths)
        until(lambda: user.all_told(len(paths)), "all photos", bound=90)
        assert program.stop() == 0


def test_it_goes_on_after_a_crash_of_everything(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "in", 4)
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        user.register()
        for path in paths:
            assert user.upload(path).status_code == 201
        for pid in program.tree():
            os.kill(pid, signal.SIGKILL)
    with studio(tmp_path / "run") as program, Client(program.url()) as user:
        user.log_in()
        until(lambda: user.all_told(len(paths)), "all photos", bound=90)


def test_its_requirements_and_readme_name_what_is_there() -> None:
    readme = (STUDIO / "README.md").read_text()
    for name in STUDIO.glob("*.py"):
        assert name.name in readme
    assert "aiosqlite" in (STUDIO / "requirements.txt").read_text()


def busy(pid: int) -> bool:
    """Whether a process of the pool has worked on something."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return True
    return bool(times.user > 0.5)
