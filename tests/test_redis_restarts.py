"""The server dies and comes back under load, from a disk that keeps what it has acknowledged."""

from __future__ import annotations

import asyncio

from stillfresh import App, CacheProvider, ProviderUnavailable, RedisCacheProvider, cache

ROUNDS = 3


class Service:
    """What it reads is a number that only grows."""

    source = 0

    @cache(name="f", tags=["t"], ttl="1 hour")
    async def f(self, key: int) -> int:
        found = Service.source
        await asyncio.sleep(0.001 * key)
        return found


async def test_no_old_value_and_no_lost_invalidation(durable, prefix):
    """
    One app changes the source and invalidates; two read all the while; the server is killed.

    Who starts after an invalidation has returned sees what was written before it, in both. One
    that raised counts in its own app at once, and in the other when it was made up for.
    """

    def app() -> App:
        provide = lambda: RedisCacheProvider(durable.url, prefix=prefix, timeout="500 ms")  # noqa: E731
        return App(Service).provide(CacheProvider, provide)

    Service.source = 0
    least = {"here": 0, "there": 0}
    wrong: list[str] = []
    missed = calls = 0
    over = asyncio.Event()

    async def read(where: str, service: Service, key: int) -> None:
        nonlocal calls
        while not over.is_set():
            bound = least[where]
            found = await service.f(key)
            calls += 1
            if found < bound:
                wrong.append(f"{where}: {found} after {bound}")
            await asyncio.sleep(0.001)

    async with app() as here, app() as there:

        async def write() -> None:
            nonlocal missed
            service = here.get(Service)
            while not over.is_set():
                Service.source += 1
                number = Service.source
                try:
                    if number % 2:
                        await here.invalidate_tags("t")
                    else:
                        await asyncio.gather(*(service.f.invalidate(key) for key in range(4)))
                    least["there"] = number
                except ProviderUnavailable:
                    missed += 1
                least["here"] = number
                await asyncio.sleep(0.002)

        readers = [
            asyncio.create_task(read(where, one.get(Service), key))
            for where, one in {"here": here, "there": there}.items()
            for key in range(4)
        ]
        writer = asyncio.create_task(write())
        for _ in range(ROUNDS):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(durable.kill)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(durable.start)
            await asyncio.sleep(1.2)  # the breaker lets somebody try again
        over.set()
        await asyncio.gather(writer, *readers)
        assert wrong == []
        assert missed >= ROUNDS
        assert least["there"] > 0
        assert here.get(Service).f.stats.hits > 0
        assert calls > 500
