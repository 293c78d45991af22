"""A soak of the web server: slow, rude and dying clients among honest ones, under a seed, on
HTTP/1.1, HTTP/2, WebSockets and TLS.

``python -m tests.soak.web`` (``make soak-web``). Honest clients are served alone first, then in a
storm. At the end nothing may be left, no honest answer may have been wrong, and what honest clients
waited in the storm is compared with what they waited before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from typing import Any
from urllib.parse import urlsplit

from tests.soak.soak import Served, compare, say, start

HONEST = 12
#: Honest clients may wait this many times as long in a storm, at their 99th percentile.
SLOWER_MAX = 2.0


class WebSoak:
    """The conductor of a server and its clients."""

    def __init__(self, rude: int, seed: int) -> None:
        self._rude = rude
        self._seed = seed
        self._address: dict[str, Any]
        self.p99: dict[str, float] = {}
        """What honest clients waited, in seconds: `calm` and `storm`."""

    async def run(self, seconds: float) -> list[str]:
        """Everything that is wrong but for times; empty for a pass."""
        async with Served.by("tests.soak.web_server", str(self._rude + 100)) as server:
            plain, secure = map(urlsplit, (await server.answer())["urls"])
            self._address = {"host": plain.hostname, "port": plain.port, "tls_port": secure.port}
            wrong = await self._phase("warm", seconds / 8, self._rude)
            before = await server.quiet()
            wrong += await self._phase("calm", seconds / 4, 0)
            wrong += await self._phase("storm", seconds * 5 / 8, self._rude)
            after = await server.quiet()
        return wrong + compare(before, before, after)

    async def _phase(self, name: str, seconds: float, rude: int) -> list[str]:
        """A part of the soak: the honest, and so many rude ones beside them."""
        orders = {**self._address, "seconds": seconds, "seed": f"{self._seed} {name}"}
        honest = self._clients(orders | {"honest": True, "clients": HONEST})
        if rude:
            others = self._clients(orders | {"honest": False, "clients": rude})
            found, storm = await asyncio.gather(honest, others)
            say(f"{name}: {sum(storm['counts'].values())} rude lives")
            say("  ".join(f"{what} {count}" for what, count in sorted(storm["counts"].items())))
        else:
            found = await honest
        times = sorted(found["times"])
        if not times:
            return [f"{name}: honest clients got no answer"]
        self.p99[name] = times[len(times) * 99 // 100]
        say(f"{name}: {len(times)} honest answers, p99 {self.p99[name] * 1000:.2f} ms")
        return [f"{name}: {text}" for text in found["wrong"][:20]]

    async def _clients(self, orders: dict[str, Any]) -> dict[str, Any]:
        process = await start("tests.soak.web_clients", json.dumps(orders))
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the clients ended with status {process.returncode}")
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rude", type=int, default=300, help="rude clients at a time")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    say(f"{options.rude} rude clients, {options.seconds} s, --seed {options.seed}")
    soak = WebSoak(options.rude, options.seed)
    wrong = asyncio.run(soak.run(options.seconds))
    calm, storm = soak.p99["calm"], soak.p99["storm"]
    say(f"honest p99: {calm * 1000:.2f} ms calm, {storm * 1000:.2f} ms in the storm")
    if storm > calm * SLOWER_MAX:
        wrong.append(f"honest clients waited {storm / calm:.1f} times as long in the storm")
    for text in wrong:
        say(f"WRONG {text}")
    say("nothing leaked, nothing wrong" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
