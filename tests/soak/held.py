"""What a process holds: descriptors, memory, objects, connections, tasks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
from dataclasses import dataclass, field
from pathlib import Path

#: Descriptors that are not a connection's.
SPARE_FDS = 200


@dataclass(frozen=True)
class Held:
    """One look at a process, by itself."""

    fds: int
    rss_bytes: int
    objects: int
    connections: int
    transports: int
    tasks: int
    #: What went to the loop's exception handler and should not have.
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def now(cls, *, connections: int, transports: int, tasks: int, complaints: list[str]) -> Held:
        """What this process holds; the caller has collected garbage."""
        # What the allocator keeps for later is no leak; how much it is depends on what came last.
        with contextlib.suppress(AttributeError, OSError):  # not glibc
            ctypes.CDLL(None).malloc_trim(0)
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            fds=len(os.listdir("/proc/self/fd")) - 1,  # without the one of the listing
            rss_bytes=resident * os.sysconf("SC_PAGE_SIZE"),
            objects=len(gc.get_objects()),
            connections=connections,
            transports=transports,
            tasks=tasks,
            complaints=complaints,
        )


def raise_limit(connections: int) -> int:
    """Lets this process hold that many connections; how many it can, if the hard limit is below."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FDS
    if soft < wanted:
        top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(connections, soft - SPARE_FDS)
