"""Options: the environment stands in for flags, and `--help` names both."""

from __future__ import annotations

import argparse

import pytest

from pelton.cli import main, options
from pelton.cli.errors import CommandError


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add(parser, "--port", type=options.port, default=8000, help="Port.")
    options.add(parser, "--factory", action="store_true", help="Factory.")
    options.add(
        parser, "--dashboard", action=argparse.BooleanOptionalAction, default=True, help="Board."
    )
    options.add(parser, "--queue", action="append", help="Queues.")
    options.add(parser, "--mode", choices=("fast", "slow"), default="fast", help="100% mode.")
    options.add(parser, "app", nargs="?", help="App.")
    args = parser.parse_args(argv)
    options.resolve(args)
    return args


def test_lists_take_the_place_of_what_the_environment_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def lists(*argv: str) -> object:
        parser = argparse.ArgumentParser()
        options.add(parser, "--proxy", action=options.Append, default=("one",), help="Proxies.")
        args = parser.parse_args(argv)
        options.resolve(args)
        return args.proxy

    assert lists() == ("one",)
    assert lists("--proxy", "two", "--proxy", "three") == ("two", "three")
    assert lists("--proxy=") == ()
    monkeypatch.setenv("PELTON_PROXY", "four, five")
    assert lists() == ("four", "five")
    assert lists("--proxy", "two") == ("two",)
    assert lists("--proxy=") == ()


def test_defaults() -> None:
    args = parse()
    assert vars(args) == {
        "port": 8000,
        "factory": False,
        "dashboard": True,
        "queue": None,
        "mode": "fast",
        "app": None,
    }


def test_environment_replaces_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PORT": "81",
        "FACTORY": "yes",
        "DASHBOARD": "0",
        "QUEUE": "images, mail",
        "MODE": "slow",
        "APP": "shop:app",
    }.items():
        monkeypatch.setenv(f"PELTON_{name}", value)
    assert vars(parse()) == {
        "port": 81,
        "factory": True,
        "dashboard": False,
        "queue": ["images", "mail"],
        "mode": "slow",
        "app": "shop:app",
    }


def test_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTON_PORT", "81")
    monkeypatch.setenv("PELTON_APP", "shop:app")
    monkeypatch.setenv("PELTON_DASHBOARD", "0")
    args = parse("--port", "82", "--dashboard", "other:app")
    assert (args.port, args.app, args.dashboard) == (82, "other:app", True)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PELTON_PORT", "http"),
        ("PELTON_PORT", "70000"),
        ("PELTON_FACTORY", "perhaps"),
        ("PELTON_MODE", "quick"),
    ],
)
def test_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(CommandError) as raised:
        parse()
    assert f"{variable}={value!r}" in str(raised.value)
    assert raised.value.code == 2


def test_a_wrong_variable_spoils_only_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PELTON_LOG_LEVEL", "loud")
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert main(["routes", "app:app"]) == 2
    assert "PELTON_LOG_LEVEL='loud'" in capsys.readouterr().err


def test_help_names_flag_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["routes", "--help"])
    shown = capsys.readouterr().out
    for name in ("APP", "PELTON_APP", "--factory", "PELTON_FACTORY", "PELTON_LOG_LEVEL"):
        assert name in shown


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_seconds_must_be_positive(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.positive_seconds(text)


@pytest.mark.parametrize("text", ["0", "-1", "1025", "two", "1.5"])
def test_counts_are_whole_and_limited(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.count(text)
