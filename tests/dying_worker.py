"""
A process that dies at one step of a computation: python dying_worker.py STEP URL PREFIX.

With -1 it lives, and prints the steps that there are.
"""

# ruff: noqa: T201  # it talks by printing

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

STEPS: list[str] = []


def step(name: str) -> None:
    """Get to a step, and die there if it is the one."""
    STEPS.append(name)
    if len(STEPS) - 1 == DIES:
        os.kill(os.getpid(), signal.SIGKILL)


class Dying(RedisCacheProvider):
    """Knows when it is asked, and when it has got the answer."""


def _stepping(name: str) -> Any:
    async def operation(self: Any, *args: Any, **options: Any) -> Any:
        step(f"{name} is asked")
        found = await getattr(RedisCacheProvider, name)(self, *args, **options)
        step(f"{name} is answered")
        return found

    return operation


for _name in ("look", "glance", "acquire", "store", "settle", "release"):
    setattr(Dying, _name, _stepping(_name))


class Service:
    """What the other processes have, too."""

    @cache(name="f", key="k", tags=["t"])
    async def f(self) -> str:
        step("the function begins")
        await asyncio.sleep(0)
        step("the function ends")
        return "of the dead"


async def main() -> None:
    """Call the function once."""
    provider = Dying(URL, prefix=PREFIX, lease=1.0)
    async with App(Service).provide(CacheProvider, provider) as app:
        await app.get(Service).f()
        print("\n".join(STEPS))


if __name__ == "__main__":
    DIES, URL, PREFIX = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    asyncio.run(main())
