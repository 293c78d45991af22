"""Where RabbitMQ's jobs have their records."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pelton.cli.apps import open_brokers
from pelton.cli.errors import CommandError
from pelton.jobs import Jobs
from pelton.jobs._store import shown, tell_of_file, with_store

BESIDE = Path("/srv/shop")
URL = "amqp://me:secret@host/vhost"


def test_a_file_beside_the_program_is_the_default(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pelton.jobs")
    assert with_store(URL, None, BESIDE) == f"{URL}?store=sqlite:////srv/shop/pelton-amqp.db"
    tell_of_file(URL, BESIDE)
    assert "/srv/shop/pelton-amqp.db" in caplog.text
    assert "secret" not in caplog.text
    caplog.clear()
    tell_of_file(f"{URL}?store=redis://host", BESIDE)
    tell_of_file("sqlite:///jobs.db", BESIDE)
    assert caplog.text == ""


def test_a_store_has_its_options_quoted() -> None:
    assert (
        with_store(f"{URL}?prefetch=5", "redis://:pw@host/0?namespace=a&timeout=5", BESIDE)
        == f"{URL}?prefetch=5&store=redis://:pw@host/0%3Fnamespace%3Da%26timeout%3D5"
    )
    named = f"{URL}?store=redis://host/0"
    assert with_store(named, None, BESIDE) == named


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        with_store(f"{URL}?store=redis://host/0", "sqlite:///a.db", BESIDE)
    with pytest.raises(ValueError, match="is for RabbitMQ") as refused:
        with_store("redis://host/0", "postgresql://me:secret@host/jobs", BESIDE)
    assert "secret" not in str(refused.value)


def test_jobs_take_a_store() -> None:
    assert Jobs(URL, store="memory://").url == f"{URL}?store=memory://"
    assert Jobs(URL).url.endswith("/pelton-amqp.db")
    with pytest.raises(ValueError, match="is for RabbitMQ"):
        _ = Jobs("sqlite:///a.db", store="memory://").url


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("sqlite:////home/me@work/jobs.db", "sqlite:////home/me@work/jobs.db"),
        ("memory://", "memory://"),
        ("redis://host:6379/0?namespace=a", "redis://host:6379/0"),
        ("redis://:secret@host/0", "redis://host/0"),
        ("redis://me:se@c/ret@host/0", "redis://host/0"),
        ("redis://me:sec?ret@host/0", "redis://…"),
        ("redis+sentinel://a,b/master?sentinel_password=secret", "redis+sentinel://a,b/master"),
        ("postgresql://host/jobs?user=me&password=secret", "postgresql://host/jobs"),
        ("amqp://host/shop?store=redis://:secret@other/0", "amqp://host/shop"),
        ("amqp://me:secret@host/shop?store=redis%3A//:secret@other", "amqp://host/shop"),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, seen: str) -> None:
    assert shown(url) == seen


def test_secrets_of_urls_are_seen_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    named = "redis://me:secret@127.0.0.1:1/0?timeout=0.1"
    jobs = Jobs(named)
    assert repr(jobs) == "<Jobs redis://127.0.0.1:1/0 with 0 tasks>"
    assert jobs.url == named
    monkeypatch.setattr("pelton.jobs.instances", lambda: [jobs])
    with pytest.raises(CommandError, match=r"the broker redis://127\.0\.0\.1:1/0: ") as refused:
        open_brokers()
    assert "secret" not in str(refused.value)
