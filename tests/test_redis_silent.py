"""Connections of threads that died silently: what is between them and the server forgot them."""

from __future__ import annotations

import asyncio

import pytest
from conftest import Proxy

from stillfresh import ProviderUnavailable
from stillfresh.providers.redis.client import Server
from stillfresh.providers.redis.lines import Lines, talk_all

GET = [("GET", "nothing")]


def many_idle(url: str) -> Lines:
    """Return connections that as many threads have used at the same time."""
    lines = Lines(Server(url, 20.0, 0.5))
    for line in [lines.take() for _ in range(5)]:
        lines.put_back(line)
    return lines


def forget(proxy: Proxy) -> None:
    """Pass nothing on any more of what is connected; what connects from now on is served."""
    forgotten, proxy.requests = proxy.requests, asyncio.Event()
    proxy.requests.set()
    forgotten.clear()


async def test_one_line_that_is_silent_speaks_for_all_that_are_idle(proxy):
    """Where a gateway forgot them all, one call pays a time-out; the next one is answered."""
    lines = await asyncio.to_thread(many_idle, proxy.url)
    forget(proxy)

    async def ask() -> list[object]:
        return await asyncio.to_thread(lambda: asyncio.run(lines.talk(GET)))

    with pytest.raises(ProviderUnavailable):
        await ask()
    assert await ask() == [None]
    lines.close()


async def test_one_silent_server_of_several_loses_its_idle_lines(proxy, url):
    """The same where several servers are asked at once; the lines to the others stay."""
    lines = await asyncio.to_thread(many_idle, proxy.url)
    others = await asyncio.to_thread(many_idle, url)
    forget(proxy)
    asked = [(others, GET), (lines, GET), (others, GET)]
    with pytest.raises(ProviderUnavailable):
        await asyncio.to_thread(talk_all, asked)
    assert await asyncio.to_thread(talk_all, asked) == [[None]] * 3
    assert len(others._idle) == 3
    for one in (lines, others):
        one.close()
