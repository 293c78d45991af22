"""Brokers that do not keep their word, to see that the checks of a chaos run notice.

`python -m tests.chaos.run --jobs 100 --sabotage doubled` must end with an AssertionError. By
triggers in the file of a SQLite broker: the engine is the one that is tested.
"""

from __future__ import annotations

from tests.jobs import outside

# One job in some: those of one task, so that which check must speak is known.
_QUICK = "NEW.task = (SELECT row FROM pelton_tasks WHERE name = 'quick') AND NEW.row % 7 = 0"

WAYS = {
    # An end that is told to the worker, and not kept: the job runs for ever.
    "dropped": f"""
        CREATE TRIGGER chaos AFTER UPDATE OF state ON pelton_jobs WHEN NEW.state = 4 AND {_QUICK}
        BEGIN UPDATE pelton_jobs SET state = 3, worker = OLD.worker, result = NULL,
            finished_at = NULL, purge_at = NULL WHERE row = NEW.row; END""",
    # A job that has ended is given out once more, as if nobody had had it.
    "doubled": f"""
        CREATE TRIGGER chaos AFTER UPDATE OF state ON pelton_jobs
        WHEN NEW.state = 4 AND {_QUICK}
            AND NOT EXISTS (SELECT 1 FROM pelton_buckets WHERE name = 'again ' || NEW.row)
        BEGIN UPDATE pelton_jobs SET state = 2, result = NULL, finished_at = NULL,
            purge_at = NULL, attempt = 0 WHERE row = NEW.row;
        INSERT INTO pelton_buckets VALUES ('again ' || NEW.row, 9000000000000000000);
        INSERT INTO pelton_counts VALUES (NEW.queue, 2, 1)
            ON CONFLICT (queue, state) DO UPDATE SET n = n + 1;
        INSERT INTO pelton_counts VALUES (NEW.queue, 4, -1)
            ON CONFLICT (queue, state) DO UPDATE SET n = n - 1; END""",
    # One that was accepted is gone.
    "lost": f"""
        CREATE TRIGGER chaos AFTER INSERT ON pelton_jobs WHEN {_QUICK}
        BEGIN DELETE FROM pelton_jobs WHERE row = NEW.row; END""",
    # One that succeeded is among the dead letters.
    "buried": f"""
        CREATE TRIGGER chaos AFTER UPDATE OF state ON pelton_jobs WHEN NEW.state = 4 AND {_QUICK}
        BEGIN UPDATE pelton_jobs SET state = 5, result = NULL WHERE row = NEW.row; END""",
    # A row of a job outlives it.
    "left": """
        CREATE TRIGGER chaos AFTER DELETE ON pelton_jobs WHEN OLD.row % 7 = 0
        BEGIN INSERT INTO pelton_edges (child, position, parent)
            VALUES (OLD.row + 1000000, 0, OLD.row); END""",
    # A worker that was killed is never forgotten.
    "haunted": """
        CREATE TRIGGER chaos AFTER DELETE ON pelton_workers
        BEGIN INSERT INTO pelton_workers (name, hostname, pid, queues, concurrency, started_at,
            seen_at, lease_until) VALUES ('ghost', '', 1, '', 1, 1, 1, 9e17); END""",
}
"""What may be wrong with a broker, and what makes it so."""


def spoil(url: str, way: str) -> None:
    """Makes an open broker one that is wrong in this way."""
    assert url.startswith("sqlite"), "a broker is spoiled by SQLite's triggers"
    outside.sqlite(url, WAYS[way])
