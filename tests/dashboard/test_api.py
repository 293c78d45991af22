"""The dashboard's JSON, over a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pelton._core import Broker, NewJob, ScheduleSpec, new_job_id
from pelton.dashboard import Dashboard
from pelton.dashboard.app import STREAMS_MAX
from tests.dashboard.board import ACTION, client_of, dead_job, enqueue, measure, work


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    opened = Broker(url)
    yield opened
    opened.close()


@pytest.fixture
def client(url: str, broker: Broker) -> TestClient:
    return client_of(Dashboard([url], measure))


def get(client: TestClient, path: str) -> Any:
    answer = client.get(f"/_pelton/api/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def act(client: TestClient, path: str) -> int:
    return client.post(f"/_pelton/api/{path}", headers=ACTION).status_code


def test_overview_counts_jobs_by_state(client: TestClient, broker: Broker, url: str) -> None:
    dead_job(broker)
    enqueue(broker, queue="mail")
    [shown] = get(client, "overview")["brokers"]
    assert shown["url"] == url
    counts = {queue["name"]: queue["counts"] for queue in shown["queues"]}
    assert counts["default"]["dead"] == 1
    assert counts["mail"]["queued"] == 1


def test_jobs_are_listed_newest_first_in_pages(client: TestClient, broker: Broker) -> None:
    ids = [enqueue(broker) for _ in range(5)]
    first = get(client, "jobs?limit=3")
    assert [job["id"] for job in first["jobs"]] == ids[:1:-1]
    assert first["more"] is True
    second = get(client, f"jobs?limit=3&before={first['jobs'][-1]['id']}")
    assert [job["id"] for job in second["jobs"]] == ids[1::-1]
    assert second["more"] is False


def test_jobs_are_filtered(client: TestClient, broker: Broker) -> None:
    dead = dead_job(broker)
    mail = enqueue(broker, "shop.mail", queue="mail")
    for query, wanted in (
        ("state=dead", [dead]),
        ("queue=mail", [mail]),
        ("task=shop.mail&state=queued", [mail]),
        ("task=shop.mail&state=dead", []),
    ):
        assert [job["id"] for job in get(client, f"jobs?{query}")["jobs"]] == wanted


@pytest.mark.parametrize("query", ["limit=many", "broker=first"])
def test_a_wrong_filter_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/_pelton/api/jobs?{query}").status_code == 400


def test_detail_tells_all(client: TestClient, broker: Broker) -> None:
    shown = get(client, f"jobs/0/{dead_job(broker)}")
    assert shown["state"] == "dead"
    assert shown["payload"] == {"args": {"n": 1}}
    assert shown["result"] is None
    assert shown["error"]["type"] == "ValueError"
    whats = [step["what"] for step in shown["history"]]
    assert whats[0] == "enqueued"
    assert whats[1].startswith("attempt 1 began")
    assert whats[2].startswith("attempt 1 failed: ValueError")
    assert whats[3].startswith("dead")


def test_a_result_is_shown(client: TestClient, broker: Broker) -> None:
    enqueue(broker)
    assert get(client, f"jobs/0/{work(broker)}")["result"] == "done"


def test_large_data_is_cut(client: TestClient, broker: Broker) -> None:
    from pelton._core import NewJob, new_job_id

    job = NewJob(id=new_job_id(), task="shop.task", payload=json.dumps("x" * 100_000).encode())
    broker.enqueue([job])
    payload = get(client, f"jobs/0/{job.id}")["payload"]
    assert payload.endswith("(100002 bytes in all)")
    assert len(payload) < 70_000


def test_retry_cancel_and_delete(client: TestClient, broker: Broker) -> None:
    dead = dead_job(broker)
    assert act(client, f"jobs/0/{dead}/cancel") == 409
    assert act(client, f"jobs/0/{dead}/retry") == 200
    assert get(client, f"jobs/0/{dead}")["state"] == "queued"
    assert act(client, f"jobs/0/{dead}/retry") == 409
    assert act(client, f"jobs/0/{dead}/delete") == 409
    assert act(client, f"jobs/0/{dead}/cancel") == 200
    assert get(client, f"jobs/0/{dead}")["state"] == "cancelled"
    assert act(client, f"jobs/0/{dead}/delete") == 200
    assert client.get(f"/_pelton/api/jobs/0/{dead}").status_code == 404


@pytest.mark.parametrize("path", ["jobs/0/{id}/explode", "jobs/7/{id}/retry", "queues/0/explode"])
def test_unknown_actions(client: TestClient, broker: Broker, path: str) -> None:
    assert act(client, path.format(id=enqueue(broker))) == 404


def test_pause_and_resume_a_queue(client: TestClient, broker: Broker) -> None:
    enqueue(broker, queue="mail & more")
    for action, paused in (("pause", True), ("resume", False)):
        path = f"/_pelton/api/queues/0/{action}"
        answer = client.post(path, params={"name": "mail & more"}, headers=ACTION)
        assert answer.status_code == 200
        [queue] = get(client, "overview")["brokers"][0]["queues"]
        assert queue["paused"] is paused


def test_schedules_workflows_and_attempts(client: TestClient, broker: Broker) -> None:
    template = NewJob(id=new_job_id(), task="shop.tick", payload=b"{}", queue="ticks")
    broker.put_schedule(ScheduleSpec(name="nightly", template=template, cron="0 3 * * *"))
    broker.set_limit("queue:ticks", concurrency=2)
    state = client.get("/_pelton/api/overview").json()["brokers"][0]
    assert state["schedules"][0]["owner"] == "@api"
    assert state["limits"] == [
        {"scope": "queue:ticks", "concurrency": 2, "rate": None, "burst": None}
    ]

    def act(path: str) -> int:
        return client.post(f"/_pelton/api/{path}", headers=ACTION).status_code

    assert act("schedules/0/pause?name=nightly") == 200
    assert broker.schedules()[0].paused  # type: ignore[index]
    assert act("schedules/0/run?name=nightly") == 200
    assert act("queues/0/purge?name=ticks") == 200
    assert act("schedules/0/remove?name=nightly") == 200
    assert act("schedules/0/remove?name=nightly") == 409
    assert act("schedules/0/explode?name=nightly") == 404
    enqueue(broker, group="g")
    assert client.get("/_pelton/api/workflows/0/g").json()["counts"]["queued"] == 1
    assert act("workflows/0/cancel?name=g") == 200
    assert client.get("/_pelton/api/workflows/0/none").status_code == 404
    dead = dead_job(broker)
    history = client.get(f"/_pelton/api/jobs/0/{dead}").json()["history"]
    assert any("attempt 1 failed: ValueError: no" in step["what"] for step in history)
    metrics = client.get("/_pelton/metrics").text
    assert 'pelton_jobs{broker="0",queue="default",state="dead"} 1' in metrics


def test_the_newest_workflows_are_listed(client: TestClient, broker: Broker) -> None:
    assert client.get("/_pelton/api/workflows").json() == {"workflows": []}
    enqueue(broker, "shop.alone")
    for group in ("older", "newer"):
        enqueue(broker, "shop.pack", group=group, priority=5)
        enqueue(broker, "shop.send", group=group)
    work(broker)
    newer, older = client.get("/_pelton/api/workflows").json()["workflows"]
    assert (newer["broker"], newer["id"], newer["tasks"]) == (
        0,
        "newer",
        ["shop.pack", "shop.send"],
    )
    assert (older["counts"]["succeeded"], older["counts"]["queued"]) == (1, 1)
    cancel = "/_pelton/api/workflows/0/cancel?name=older"
    assert client.post(cancel, headers=ACTION).json() == {"done": "cancel"}
    _, older = client.get("/_pelton/api/workflows").json()["workflows"]
    assert older["counts"]["cancelled"] == 1


def test_actions_need_post(client: TestClient, broker: Broker) -> None:
    answer = client.get(f"/_pelton/api/jobs/0/{enqueue(broker)}/cancel", headers=ACTION)
    assert answer.status_code == 405


def test_a_broken_broker_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_text("this is no database" * 100)
    client = client_of(Dashboard([f"sqlite:///{tmp_path / 'jobs.db'}"], measure))
    answer = client.get("/_pelton/api/overview")
    assert answer.status_code == 503
    assert "the broker does not answer" in answer.json()["detail"]
    assert client.get("/_pelton/").status_code == 200


def test_without_jobs_there_are_no_brokers() -> None:
    client = client_of(Dashboard([], measure))
    assert get(client, "overview")["brokers"] == []
    assert get(client, "jobs") == {"jobs": [], "more": False}


def test_the_page_is_found_without_its_slash(client: TestClient) -> None:
    answer = client.get("/_pelton")
    assert answer.headers["location"] == "/_pelton/"


@pytest.mark.parametrize(
    ("path", "root_path", "base"),
    [
        ("/_pelton{}", "", "/_pelton"),
        ("/_pelton{}", "/_pelton", "/_pelton"),
        ("/shop/_pelton{}", "/shop", "/shop/_pelton"),
        ("/shop/_pelton{}", "/shop/_pelton", "/shop/_pelton"),
        ("/_pelton{}", "/shop", "/shop/_pelton"),  # the proxy took the prefix away
    ],
)
def test_it_works_wherever_it_is_mounted(path: str, root_path: str, base: str) -> None:
    client = TestClient(
        Dashboard([], measure),
        "http://127.0.0.1",
        root_path=root_path,
        client=("127.0.0.1", 40_000),
        follow_redirects=False,
    )
    assert client.get(path.format("")).headers["location"] == f"{base}/"
    assert client.get(path.format("/")).status_code == 200
    assert client.get(path.format("/api/overview")).json()["brokers"] == []
    assert client.get(path.format("/api/nothing")).status_code == 404


class Listener:
    """Calls the stream as a server would, and collects what it sends."""

    def __init__(self, dashboard: Dashboard) -> None:
        self.sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.task = asyncio.create_task(dashboard(_scope(), self._receive, self.sent.put))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def start(self) -> int:
        status: int = (await self.sent.get())["status"]
        return status

    async def state(self) -> Any:
        """What the next event says."""
        while True:
            text = (await self.sent.get()).get("body", b"").decode()
            if text.startswith("data: "):
                return json.loads(text.removeprefix("data: "))

    async def leave(self) -> None:
        self._gone.set()
        await self.task


def _scope() -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/_pelton/api/events",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
    }


def test_events_tell_what_changes(url: str, broker: Broker) -> None:
    async def listen() -> None:
        listener = Listener(Dashboard([url], measure))
        assert await listener.start() == 200
        assert (await listener.state())["brokers"][0]["queues"] == []
        await asyncio.to_thread(enqueue, broker, queue="mail")
        async with asyncio.timeout(20):
            while not (await listener.state())["brokers"][0]["queues"]:
                pass
        await listener.leave()

    asyncio.run(listen())


def test_stop_ends_the_streams() -> None:
    async def listen() -> None:
        dashboard = Dashboard([], measure)
        listener = Listener(dashboard)
        assert await listener.start() == 200
        await listener.state()
        dashboard.stop()
        async with asyncio.timeout(20):
            await listener.task

    asyncio.run(listen())


def test_streams_are_limited() -> None:
    async def listen() -> None:
        dashboard = Dashboard([], measure)
        listeners = [Listener(dashboard) for _ in range(STREAMS_MAX)]
        for listener in listeners:
            assert await listener.start() == 200
            await listener.state()
        assert await Listener(dashboard).start() == 503
        await listeners[0].leave()
        assert await Listener(dashboard).start() == 200
        dashboard.stop()
        await asyncio.gather(*(listener.task for listener in listeners))

    asyncio.run(listen())
