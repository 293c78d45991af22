"""A small program of each library, run by `asyncio.run`; run_libraries.py puts our loop there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    "PELTON_LOOP" not in os.environ, reason="run by tests/conformance/run_libraries.py"
)

BODY = b"x" * 100_000


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def process(*command: str, port: int, **options: Any) -> AsyncIterator[None]:
    """A server in a process of its own, once it accepts connections."""
    running = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, **options)
    try:
        async with asyncio.timeout(40):
            await accepting(port)
        yield
    finally:
        running.terminate()
        await running.wait()


async def accepting(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def test_aiohttp() -> None:
    web = pytest.importorskip("aiohttp.web")
    import aiohttp

    async def echo(request: Any) -> Any:
        return web.Response(body=await request.read())

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/", echo)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session:

            async def one() -> bytes:
                async with session.post(f"http://{host}:{port}/", data=BODY) as response:
                    body: bytes = await response.read()
                    return body

            assert await asyncio.gather(*(one() for _ in range(20))) == [BODY] * 20
        await runner.cleanup()

    asyncio.run(main())


def test_websockets() -> None:
    server = pytest.importorskip("websockets.asyncio.server")
    from websockets.asyncio.client import connect

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        async with server.serve(echo, "127.0.0.1", 0) as serving:
            port = serving.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}") as client:
                for message in ("text", BODY):
                    await client.send(message)
                    assert await client.recv() == message

    asyncio.run(main())


def test_aiosqlite() -> None:
    aiosqlite = pytest.importorskip("aiosqlite")

    async def main() -> None:
        async with aiosqlite.connect(":memory:") as database:
            await database.execute("create table t (n integer)")
            await database.executemany("insert into t values (?)", [(n,) for n in range(100)])
            async with database.execute("select sum(n) from t") as cursor:
                assert await cursor.fetchone() == (4950,)

    asyncio.run(main())


def test_aiofiles(tmp_path: Path) -> None:
    aiofiles = pytest.importorskip("aiofiles")

    async def main() -> None:
        async with aiofiles.open(tmp_path / "file", "wb") as file:
            await file.write(BODY)
        async with aiofiles.open(tmp_path / "file", "rb") as file:
            assert await file.read() == BODY

    asyncio.run(main())


def test_redis(tmp_path: Path) -> None:
    redis = pytest.importorskip("redis.asyncio")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server (Debian: apt-get install redis-server)")

    async def main() -> None:
        port = free_port()
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path))
        async with process(program, *options, port=port):
            client = redis.Redis(port=port)
            assert await asyncio.gather(*(client.incr("n") for _ in range(50)))
            assert await client.get("n") == b"50"
            await client.aclose()

    asyncio.run(main())


def test_asyncpg(tmp_path: Path) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    program = shutil.which("postgres")
    maker = program and Path(program).resolve().with_name("initdb")
    if program is None or maker is None or not maker.exists():
        pytest.skip("no postgres with initdb (Debian: apt-get install postgresql)")
    # It refuses to run as root.
    owner: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    place = Path(f"/tmp/pelton-postgres-{os.getpid()}")
    place.mkdir(mode=0o700)
    if owner:
        shutil.chown(place, "nobody")
    try:
        made = [str(maker), "-D", f"{place}/data", "-U", "tester", "-A", "trust"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/", **owner)
        asyncio.run(query(asyncpg, program, place, owner))
    finally:
        shutil.rmtree(place)


async def query(asyncpg: Any, program: str, place: Path, owner: dict[str, Any]) -> None:
    port = free_port()
    command = [program, "-D", f"{place}/data", "-p", str(port), "-k", str(place)]
    async with process(*command, "-h", "127.0.0.1", port=port, cwd=Path("/"), **owner):
        where = {"host": "127.0.0.1", "port": port, "user": "tester", "database": "postgres"}
        pool = None
        while pool is None:  # it listens before it answers; the runner's limit ends this
            with contextlib.suppress(asyncpg.CannotConnectNowError):
                pool = await asyncpg.create_pool(**where, ssl=False)
        try:
            sums = await asyncio.gather(
                *(
                    pool.fetchval("select sum(n) from generate_series(1, $1) n", top)
                    for top in (9, 99)
                )
            )
            assert sums == [45, 4950]
        finally:
            await pool.close()


APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    import asyncio
    loop = type(asyncio.get_running_loop()).__mro__[1].__module__.encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": loop})
"""

SERVERS = {
    "uvicorn": ["-m", "uvicorn", "app:app", "--loop", "asyncio", "--port", "{port}"],
    "hypercorn": ["-m", "hypercorn", "app:app", "--bind", "127.0.0.1:{port}"],
    "granian": [
        *("-m", "granian", "--interface", "asgi", "--loop", "asyncio"),
        *("--port", "{port}", "app:app"),
    ],
}


@pytest.mark.parametrize("server", SERVERS)
def test_server_answers_httpx(server: str, tmp_path: Path) -> None:
    pytest.importorskip(server)
    httpx = pytest.importorskip("httpx")
    (tmp_path / "app.py").write_text(APP)

    async def main() -> None:
        port = free_port()
        command = [part.format(port=port) for part in SERVERS[server]]
        async with (
            process(sys.executable, *command, port=port, cwd=tmp_path),
            httpx.AsyncClient(trust_env=False) as client,
        ):
            for _ in range(20):
                response = await client.get(f"http://127.0.0.1:{port}/")
                assert response.status_code == 200
                if os.environ["PELTON_LOOP"] == "pelton":
                    assert response.text.startswith("pelton")

    asyncio.run(main())
