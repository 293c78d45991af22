"""`pelton top`: queues, workers and running jobs, in the terminal."""

from __future__ import annotations

import argparse
import contextlib
import select
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pelton.cli import brokers, options

if TYPE_CHECKING:
    from pelton._core import Broker, QueueRecord

_CLEAR = "\x1b[H\x1b[2J"
_ALTERNATE, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_BOLD, _DIM, _RED, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m"
_ENDED: tuple[Literal["succeeded", "dead", "cancelled"], ...] = ("succeeded", "dead", "cancelled")
_SHOWN: tuple[Literal["queued", "running", "scheduled", "waiting", "succeeded", "dead"], ...] = (
    "queued",
    "running",
    "scheduled",
    "waiting",
    "succeeded",
    "dead",
)
_RUNNING_SHOWN = 100


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "top",
        help="Watch queues, workers and running jobs in the terminal.",
        description="Shows the broker, again and again. q or Ctrl-C ends it.",
    )
    parser.add_argument(
        "--interval",
        type=options.positive_seconds,
        default=1.0,
        metavar="SECONDS",
        help="Between two looks.",
    )
    parser.add_argument("--once", action="store_true", help="Print one page, plain, and end.")
    brokers.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Draws until it is told to end; one page where the output is not a terminal."""
    from pelton._core import BrokerError

    with brokers.opened(args) as broker:
        page = Page(broker)
        if args.once or not sys.stdout.isatty():
            size = shutil.get_terminal_size((100, 1000))
            print("\n".join(page.lines(size.columns, 1000, styled=False)))
            return 0
        with _raw_terminal(), contextlib.suppress(KeyboardInterrupt):
            while True:
                size = shutil.get_terminal_size()
                try:
                    lines = page.lines(size.columns, size.lines - 1, styled=True)
                except BrokerError as error:  # it may come back
                    lines = [_cut(_style(_RED, str(error), True), size.columns)]
                sys.stdout.write(_CLEAR + "\r\n".join(lines))
                sys.stdout.flush()
                if _key(args.interval) in ("q", "Q", "\x03", "\x04"):
                    return 0
    return 0


class Page:
    """What is shown, with rates between one look and the next."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._before: tuple[float, int] | None = None

    def lines(self, width: int, height: int, *, styled: bool) -> list[str]:
        """The page, no larger than the terminal; BrokerError."""
        queues = self._broker.queues() or []
        workers = self._broker.workers() or []
        running = self._broker.list_jobs(state="running", limit=_RUNNING_SHOWN) or []
        now = time.time()
        lines = [_style(_BOLD, self._summary(queues, len(workers), now), styled)]
        heads: tuple[str, ...] = (
            "QUEUE",
            "queued",
            "running",
            "scheduled",
            "waiting",
            "done",
            "dead",
            "oldest",
        )
        rows: list[tuple[str, ...]] = []
        for queue in queues:
            counts = queue.counts
            age = "-" if queue.oldest_queued_at is None else _age(now - queue.oldest_queued_at)
            name = queue.name + (" (paused)" if queue.paused else "")
            rows.append((name, *(str(counts[state]) for state in _SHOWN), age))
        lines += ["", *_table(heads, rows, styled)]
        rows = [
            (
                worker.name,
                f"{worker.running}/{worker.concurrency}",
                str(worker.processed),
                str(worker.failed),
                ",".join(worker.queues) or "all",
                _age(now - worker.seen_at),
            )
            for worker in workers
        ]
        heads = ("WORKER", "running", "done", "failed", "queues", "seen")
        lines += ["", *_table(heads, rows, styled)]
        rows = [
            (
                record.id,
                record.task,
                str(record.attempt),
                _age(now - (record.started_at or now)),
                "-" if record.progress is None else f"{record.progress:.0%}",
                record.message or "",
            )
            for record in running
        ]
        heads = ("RUNNING", "task", "attempt", "since", "progress", "")
        lines += ["", *_table(heads, rows, styled)]
        return [_cut(line, width) for line in lines[:height]]

    def _summary(self, queues: Sequence[QueueRecord], workers: int, now: float) -> str:
        ended = sum(queue.counts[state] for queue in queues for state in _ENDED)
        rate = ""
        if self._before is not None and now > self._before[0]:
            moment, before = self._before
            rate = f"   {max(0, ended - before) / (now - moment):,.1f} jobs/s"
        self._before = (now, ended)
        queued = sum(queue.counts["queued"] for queue in queues)
        dead = sum(queue.counts["dead"] for queue in queues)
        return f"pelton   {workers} workers   {queued} queued   {dead} dead{rate}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], styled: bool) -> Iterator[str]:
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for number, row in enumerate((heads, *rows)):
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield _style(_DIM, line.rstrip(), styled) if number == 0 else line.rstrip()


def _style(code: str, text: str, styled: bool) -> str:
    return f"{code}{text}{_PLAIN}" if styled else text


def _cut(line: str, width: int) -> str:
    styled = line.startswith("\x1b")
    most = width + (len(_BOLD) + len(_PLAIN) if styled else 0)
    return line if len(line) <= most else line[: most - 1] + (_PLAIN if styled else "")


def _age(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0.0, seconds):.0f}s"
    if seconds < 3600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < 172_800 else f"{seconds / 86_400:.0f}d"


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Keys without Enter, on the terminal's second page; as it was, afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        if before is not None:
            tty.setcbreak(sys.stdin)
        sys.stdout.write(_ALTERNATE)
        yield
    finally:
        sys.stdout.write(_BACK)
        sys.stdout.flush()
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key(seconds: float) -> str:
    """The next key, or "" after so long."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.read(1) if ready else ""
