"""Programs that end while something is still computed: they end at once, and say nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import pytest

from stillfresh import App, CacheProvider, MemoryCacheProvider, RedisCacheProvider, cache

PROLOGUE = """
import asyncio, logging, os, sys, threading, time
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a slow machine is no fault
from stillfresh import App, CacheProvider, MemoryCacheProvider, RedisCacheProvider, cache

def provider():
    url = os.environ.get("SERVER")
    return RedisCacheProvider(url, prefix=os.environ["PREFIX"]) if url else MemoryCacheProvider()

class Service:
    @cache(ttl=60, stale=60)
    async def slow(self, n: int) -> int:
        await asyncio.sleep(3600)
        return n

    @cache(ttl=0.01, stale=60)
    def behind(self, n: int) -> int:
        if n < 0 or started.is_set():
            time.sleep(3600)
        started.set()
        return n

    @cache
    async def quick(self, n: int) -> int:
        return n

    @cache
    def plain(self, n: int) -> int:
        return n

started = threading.Event()
app = App(Service).provide(CacheProvider, provider())
"""

PROGRAMS = {
    "a task in flight when asyncio.run ends": """
        async def main():
            async with app:
                service = app.get(Service)
                asyncio.create_task(service.slow(1))
                await asyncio.sleep(0.05)
                raise SystemExit(0)
        asyncio.run(main())
    """,
    "an app that is never stopped": """
        async def main():
            await app.__aenter__()
            service = app.get(Service)
            await service.quick(1)
            asyncio.create_task(service.slow(1))
            await asyncio.sleep(0.05)
        asyncio.run(main())
    """,
    "a loop that is left standing": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(app.__aenter__())
        service = app.get(Service)
        loop.run_until_complete(service.quick(1))
        loop.close()
    """,
    "a refresh behind in a thread": """
        app.__enter__()
        service = app.get(Service)
        service.behind(1)
        time.sleep(0.05)
        assert service.behind(1) == 1
        time.sleep(0.05)
    """,
    "a thread of the program that waits": """
        app.__enter__()
        service = app.get(Service)
        threading.Thread(target=lambda: service.behind(-1), daemon=True).start()
        time.sleep(0.1)
        threading.Thread(target=lambda: service.behind(-1), daemon=True).start()
        time.sleep(0.1)
    """,
    "calls in atexit": """
        import atexit
        app.__enter__()
        service = app.get(Service)
        service.plain(1)
        atexit.register(lambda: service.plain(1))
        atexit.register(lambda: service.plain(2))
    """,
    "sys.exit in a function": """
        class Ends:
            @cache
            def f(self):
                sys.exit(0)
        with App(Ends).provide(CacheProvider, provider()) as other:
            other.get(Ends).f()
    """,
}


def ends(program: str, **environment: str) -> None:
    """Run a program: it must end by itself, with 0, and say nothing."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", "-c", program],
        env={"PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("where", ["memory", "redis"])
def test_a_program_ends_with_work_in_flight(
    program: str, where: str, url: str, prefix: str
) -> None:
    """No hang and no traceback, whatever is under way when the interpreter ends."""
    environment = {"SERVER": url, "PREFIX": prefix} if where == "redis" else {}
    ends(PROLOGUE + textwrap.dedent(program), **environment)


@pytest.mark.parametrize("where", ["memory", "redis"])
def test_threads_never_see_what_is_older_than_an_invalidation(
    where: str, url: str, prefix: str
) -> None:
    """
    Eight threads call, two change the source and invalidate.

    What a call gets is at least what was there when an invalidation returned before it.
    """
    version = dict.fromkeys(range(3), 0)
    floor = dict(version)
    lock = threading.Lock()
    wrong: list[str] = []
    done = threading.Event()

    class Service:
        @cache(ttl=60, tags=["n:{n}"])
        def f(self, n: int) -> int:
            seen = version[n]
            time.sleep(0.0005)
            return seen

    provider = (
        MemoryCacheProvider() if where == "memory" else RedisCacheProvider(url, prefix=prefix)
    )
    app = App(Service).provide(CacheProvider, provider)

    def call(number: int) -> None:
        while not done.is_set():
            n = number % 3
            least = floor[n]
            got = app.get(Service).f(n)
            if got < least:
                wrong.append(f"{n}: {got}, must be {least}")

    def change(first: int) -> None:
        for number in range(first, first + 200):
            n = number % 3
            with lock:
                version[n] += 1
                least = version[n]
            if number % 2:
                app.get(Service).f.invalidate(n)
            else:
                app.sync.invalidate_tags(f"n:{n}")
            with lock:
                floor[n] = max(floor[n], least)
            time.sleep(0.001)

    with app:
        callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        changers = [threading.Thread(target=change, args=(number,)) for number in range(2)]
        for thread in callers + changers:
            thread.start()
        for thread in changers:
            thread.join(60)
        done.set()
        for thread in callers:
            thread.join(5)
        assert not any(thread.is_alive() for thread in callers + changers)
    assert wrong == []
    assert min(floor.values()) > 0
