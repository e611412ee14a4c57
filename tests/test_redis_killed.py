"""A process is killed at a step of a computation: the others go on as if it had never been."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from stillfresh import App, CacheProvider, RedisCacheProvider, cache

WORKER = Path(__file__).parent / "dying_worker.py"
AT_ONCE = 3
LEASE = 1.0


async def worker(step: int, url: str, prefix: str) -> tuple[int, list[str]]:
    """Run a process that dies at *step*; return how it ended, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), str(step), url, prefix, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode().splitlines()


class Service:
    """The function of the worker, in this process."""

    def __init__(self) -> None:
        self.computed = 0

    @cache(name="f", key="k", tags=["t"])
    async def f(self) -> str:
        self.computed += 1
        return f"of the living {id(self)} {self.computed}"


async def survives(step: int, name: str, url: str, prefix: str) -> None:
    """See what one death leaves to the others."""
    code, _ = await worker(step, url, prefix)
    assert code == -signal.SIGKILL, name
    one, other = (
        App(Service).provide(CacheProvider, RedisCacheProvider(url, prefix=prefix, lease=LEASE))
        for _ in range(2)
    )
    async with one, other, asyncio.timeout(10 * LEASE):  # whom it had left a lease waits for one
        services = [one.get(Service), other.get(Service)]
        values = await asyncio.gather(*(service.f() for service in services for _ in range(5)))
        stored = name == "store is answered"
        assert len(set(values)) == 1, name
        assert (values[0] == "of the dead") is stored, name
        assert sum(service.computed for service in services) == (0 if stored else 1), name
        await services[0].f.invalidate()
        assert await services[1].f() != values[0], name
        assert await services[0].f() == await services[1].f(), name


async def test_killed_at_every_step_of_a_computation(url: str, prefix: str) -> None:
    """
    Whatever a process has asked, heard or computed when it is killed: the others wait for its lease
    at most, one of them computes, and what had not been stored never appears.
    """
    code, steps = await worker(-1, url, f"{prefix}:all")
    assert code == 0
    assert steps.index("acquire is answered") < steps.index("the function begins")
    assert steps[-1] == "store is answered"
    assert len(steps) >= 8
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, name: str) -> None:
        async with room:
            await survives(number, name, url, f"{prefix}:{number}")

    await asyncio.gather(*(one(number, name) for number, name in enumerate(steps)))
