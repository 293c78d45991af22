"""The server's options: each field of the config is a flag, a variable and a line of the page."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from pelton.cli import main, options, server_options
from pelton.cli.errors import CommandError
from pelton.server import Config

ROOT = Path(__file__).parents[2]


def parse(*argv: str) -> Config:
    parser = argparse.ArgumentParser()
    server_options.add(parser)
    args = parser.parse_args(argv)
    options.resolve(args)
    return server_options.config(args)


def test_without_flags_the_config_is_the_default() -> None:
    assert parse() == Config()


def test_every_field_has_documentation() -> None:
    for option in server_options.all_options():
        assert option.help.endswith("."), option.name


@pytest.mark.parametrize("command", ["serve", "run"])
def test_help_names_every_flag_and_variable(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out.split()
    words = {word.strip("[];,") for word in shown}
    for field in dataclasses.fields(Config):
        if field.name not in server_options.LEFT_OUT:
            assert f"--{field.name.replace('_', '-')}" in words
            assert f"PELTON_{field.name.upper()}" in words


def test_the_page_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "server-options", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_values() -> None:
    config = parse(
        *("--max-body=1M", "--max-head", "2k", "--ws-ping-interval", "none", "--keep-alive", "1.5"),
        *("--ssl-certfile", "a.pem", "--ssl-certfile", "b.pem", "--access-log", "--no-http2"),
        *("--trusted-proxies=10.0.0.0/8", "--access-log-file=-", "--lifespan", "off"),
    )
    assert config == Config(
        max_body=1024**2,
        max_head=2048,
        ws_ping_interval=None,
        keep_alive=1.5,
        ssl_certfile=("a.pem", "b.pem"),
        access_log=True,
        http2=False,
        trusted_proxies=("10.0.0.0/8",),
        access_log_file="-",
        lifespan="off",
    )


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MAX_BODY": "none",
        "TRUSTED_PROXIES": "10.0.0.1, unix",
        "HTTP2": "0",
        "WORKERS": "3",
    }.items():
        monkeypatch.setenv(f"PELTON_{name}", value)
    config = parse("--workers", "2")
    assert config == Config(
        max_body=None, trusted_proxies=("10.0.0.1", "unix"), http2=False, workers=2
    )


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--max-body=none", "--no-http2", "--bind=127.0.0.1:0", "--bind=unix:/tmp/x"),
        ("--trusted-proxies=", "--access-log-file=-", "--server-header=none", "--uds=/a b"),
    ],
)
def test_flags_give_the_config_again(flags: tuple[str, ...]) -> None:
    config = parse(*flags)
    assert parse(*server_options.flags(config)) == config


def test_flags_win_over_what_a_child_finds_in_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Config(bind=("fd:3",))
    monkeypatch.setenv("PELTON_UDS", "/run/app.sock")
    monkeypatch.setenv("PELTON_TRUSTED_PROXIES", "10.0.0.1")
    monkeypatch.setenv("PELTON_HTTP2", "0")
    assert parse(*server_options.flags(config)) == config


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--port", "70000"), "port is 70000"),
        (("--workers", "0"), "workers is 0"),
        (("--max-body", "-1"), "max_body is -1"),
        (("--uds", "a", "--fd", "3"), "exclude each other"),
        (("--uds-mode", "999"), "uds_mode is '999'"),
    ],
)
def test_impossible_values(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message) as raised:
        parse(*flags)
    assert raised.value.code == 2


@pytest.mark.parametrize("flags", [("--port", "http"), ("--max-body", "1T"), ("--keep-alive", "x")])
def test_what_is_no_number(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*flags)
    assert stopped.value.code == 2
    assert flags[1] in capsys.readouterr().err
