"""The example app as a running program, and a client of it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.cli.program import ROOT, Program, running

STUDIO = ROOT / "examples/studio"
WIDTHS = (320, 800, 1600)


@contextlib.contextmanager
def studio(directory: Path, **environment: str) -> Iterator[Program]:
    """`pelton run` of the example, its pictures and databases in `directory`."""
    directory.mkdir(exist_ok=True)
    settings = {
        "STUDIO_VAR": str(directory / "var"),
        "STUDIO_FLAKINESS": "0.3",
        "PELTON_PORT": "0",
        "PELTON_APP_DIR": str(STUDIO),
        # A killed worker's jobs are taken over after this, not after 15 seconds.
        "PELTON_LEASE": "2",
    }
    with running("run", "app:app", directory=directory, **settings | environment) as program:
        yield program


def pictures(directory: Path, number: int, width: int = 1800) -> list[Path]:
    """Landscapes drawn by the example's own script."""
    directory.mkdir(exist_ok=True)
    paths = [directory / f"hill-{seed}.jpg" for seed in range(number)]
    for seed, path in enumerate(paths):
        path.write_bytes(_drawn(seed, width))
    return paths


@functools.cache
def _drawn(seed: int, width: int) -> bytes:
    spec = importlib.util.spec_from_file_location("make_photos", STUDIO / "make_photos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    target = io.BytesIO()
    module.make(seed, width, width * 2 // 3).save(target, "JPEG", quality=85)
    return target.getvalue()


class Client:
    """A user of the studio."""

    def __init__(self, url: str, name: str = "ada", password: str = "enigma-1815") -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.name, self.password = name, password

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def register(self) -> httpx.Response:
        answer = self.http.post("/register", json={"name": self.name, "password": self.password})
        self._take(answer)
        return answer

    def log_in(self) -> httpx.Response:
        form = {"username": self.name, "password": self.password}
        answer = self.http.post("/token", data=form)
        self._take(answer)
        return answer

    def upload(self, path: Path) -> httpx.Response:
        with path.open("rb") as file:
            return self.http.post("/photos", files={"file": (path.name, file)})

    def photos(self) -> list[dict[str, Any]]:
        answer = self.http.get("/photos")
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def states(self) -> list[str]:
        return [photo["state"] for photo in self.photos()]

    def all_told(self, number: int) -> bool:
        """Whether so many photos are ready, and their owner was told of each."""
        photos = self.photos()
        ready = [photo for photo in photos if photo["state"] == "ready" and photo["notified"]]
        return len(photos) == len(ready) == number

    def _take(self, answer: httpx.Response) -> None:
        if answer.is_success:
            self.http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
