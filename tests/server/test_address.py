"""Listening sockets: where they are, whose path it is, and what stands in the way."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from pelton.server import Config, StartupError
from pelton.server.address import Listening, again, bind, display


def opened(**options: Any) -> list[Listening]:
    return bind(Config(**options))


def close(found: list[Listening]) -> None:
    for listening in found:
        listening.close()


def test_several_places(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        places = ("127.0.0.1:0", f"unix:{path}", f"fd:{inherited.fileno()}")
        found = opened(bind=places)
        shown = [display(listening.sock, secure=True) for listening in found]
        assert shown[0].startswith("https://127.0.0.1:")
        assert shown[1] == f"unix:{path}"
        assert shown[2].endswith(f":{inherited.getsockname()[1]}")
        close(found)
        assert not path.exists()


@pytest.mark.parametrize("place", ["", "8000", ":8000", "a:b", "unix:", "fd:x", "127.0.0.1:70000"])
def test_what_is_no_place(place: str) -> None:
    with pytest.raises(StartupError, match="write host:port"):
        opened(bind=(place,))


def test_a_place_that_is_taken_leaves_none_open(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"port {port} on 127.0.0.1 is in use"):
            opened(bind=(f"unix:{path}", f"127.0.0.1:{port}"))
    assert not path.exists()


def test_the_mode_of_a_unix_socket(tmp_path: Path) -> None:
    for mode in ("600", "666", "0660"):
        path = tmp_path / mode
        found = opened(uds=str(path), uds_mode=mode)
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
        close(found)


def test_a_stale_socket_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    found = opened(uds=path)
    with pytest.raises(StartupError, match="is in use"):
        opened(uds=path)
    close(found)


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(StartupError, match="is in use"):
        opened(uds=str(path))
    assert path.read_text() == "data"


def test_the_path_of_another_server_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    old = opened(uds=path)
    os.unlink(path)
    new = opened(uds=path)
    close(old)
    assert os.path.exists(path)
    close(new)
    assert not os.path.exists(path)


def test_one_more_socket_for_the_same_port() -> None:
    found = opened(port=0, reuse_port=True)
    sock = found[0].sock
    with again(sock, 10) as other:
        assert other.getsockname() == sock.getsockname()
        assert other.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    close(found)


def test_descriptors_that_are_no_sockets() -> None:
    with pytest.raises(StartupError, match="is no socket"):
        opened(fd=10_000)
    with open(os.devnull) as file, pytest.raises(StartupError, match=r"is no socket|cannot listen"):
        opened(fd=file.fileno())
