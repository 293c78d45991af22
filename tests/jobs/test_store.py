"""Where RabbitMQ's jobs have their records."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pelton.jobs import Jobs
from pelton.jobs._store import tell_of_file, with_store

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
