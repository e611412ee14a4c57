"""A user of the server that may do little: what it needs is what the documentation says."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest
import redis

from stillfresh import (
    App,
    Cache,
    CacheProvider,
    ProviderUnavailable,
    RedisCacheProvider,
    cache,
    computation,
)
from stillfresh.providers.redis import listening
from stillfresh.testing import VirtualClock

PATIENCE = 10.0
PAGE = (Path(__file__).parents[1] / "docs" / "redis.md").read_text("utf-8")


def documented(prefix: str, *places: str) -> list[str]:
    """Return the rights that the page names, in all and for *places*."""
    found = re.search(r'RIGHTS = """(.*?)"""', PAGE, re.DOTALL)
    assert found
    rights = found[1].replace("~stillfresh:", f"~{prefix}:").split()
    for place in places:
        row = re.search(rf"^\| {place} \| `(.*)` \|$", PAGE, re.MULTILINE)
        assert row
        rights += row[1].replace("\\|", "|").split()
    return rights


@pytest.fixture
def user(raw, prefix):
    """Let a user have just these rights; return its name, which is also its password."""
    name = prefix.replace(":", "-")

    def allow(*rights: str, admin: redis.Redis = raw) -> str:
        rules = ("reset", "on", f">{name}", *rights)
        admin.execute_command("ACL", "SETUSER", name, *rules)
        return name

    yield allow
    raw.execute_command("ACL", "DELUSER", name)


def app_at(url: str, name: str, prefix: str) -> tuple[App, list[str]]:
    """Return an app that talks as a user, and what it says of calls and of the server."""
    url = url.replace("://", f"://{name}:{name}@")
    app = App(Service, clock=VirtualClock())
    app.provide(CacheProvider, lambda: RedisCacheProvider(url, prefix=prefix))
    seen: list[str] = []
    for kind in ("hit", "miss", "bypass", "provider_down", "refused"):
        app.on(kind, lambda event: seen.append(event.kind))
    return app, seen


class Service:
    data = Cache[int](name="data", ttl=None)

    @cache(name="f", key="{n}", ttl="1 minute", tags=["t"])
    async def f(self, n: int) -> int:
        return n

    @cache(name="near", key="{n}", tags=["t"], memory=True)
    async def near(self, n: int) -> int:
        return n

    @cache(name="late", ttl="1 minute", stale="1 minute")
    async def late(self) -> int:
        computation().tags.add("late")
        return 1

    @cache(name="g", key="{n}", ttl="1 hour", tags=["t"])
    def g(self, n: int) -> int:
        return n


async def everything(app: App) -> None:
    """Do all that can be done with entries on a server."""
    service = app.get(Service)
    for _ in range(2):
        await service.f(1)
        await service.late()
        await asyncio.to_thread(service.g, 1)
    await service.late.expire()
    await service.late()
    await service.data.set("k", 1, tags=["x"])
    await service.data.incr("k")
    await service.data.incr("count")
    assert set(await service.data.keys()) == {"count", "k"}
    await service.f.invalidate(1)
    await service.f.invalidate_matching("*")
    await app.invalidate_tags("t", "late")
    await service.data.clear()


def not_allowed(raw: redis.Redis) -> set[str]:
    """Return which commands were refused, but for the name of the client, which nobody needs."""
    refused = {entry["object"] for entry in raw.acl_log() if entry["reason"] == "command"}
    return {text_of(one) for one in refused} - {"client|setinfo", "client"}


def text_of(one: bytes | str) -> str:
    return one.decode() if isinstance(one, bytes) else one


async def test_the_rights_that_are_documented_are_enough(url, prefix, user, raw):
    """Everything works with just those, but for the near tier; also on a server without scripts."""
    name = user(*documented(prefix))
    raw.script_flush()
    raw.acl_log_reset()
    app, seen = app_at(url, name, prefix)
    async with app:
        await everything(app)
    assert not {"bypass", "provider_down", "refused"} & set(seen)
    assert not not_allowed(raw)


async def test_the_near_tier_and_another_database_need_some_more(url, prefix, user, raw):
    """With those of their rows nothing is refused there either."""
    name = user(*documented(prefix, "a near tier", "another database than 0"))
    raw.acl_log_reset()
    app, seen = app_at(url + "/1", name, prefix)
    async with app:
        await everything(app)
        for _ in range(3):
            await app.get(Service).near(1)
    assert not {"bypass", "provider_down", "refused"} & set(seen)
    assert not not_allowed(raw)


async def test_a_cluster_needs_some_more(quiet_cluster, prefix, user):
    """With those of its row nothing is refused in a cluster, its near tier included."""
    rights = documented(prefix, "a near tier", "a cluster")
    [name] = {user(*rights, admin=client) for client in quiet_cluster.clients}
    for client in quiet_cluster.clients:
        client.acl_log_reset()
    app, seen = app_at(quiet_cluster.url, name, prefix)
    async with app:
        await everything(app)
        for _ in range(3):
            await app.get(Service).near(1)
    assert not {"bypass", "provider_down", "refused"} & set(seen)
    assert not set().union(*map(not_allowed, quiet_cluster.clients))


async def test_whoever_may_not_ask_for_the_run_is_told_so(url, prefix, user, caplog):
    """A common set of rights lacks it: the log line names the command, and where to look."""
    name = user(f"~{prefix}:*", "+@all", "-@dangerous")
    app, seen = app_at(url, name, prefix)
    async with app:
        with caplog.at_level(logging.WARNING, "stillfresh"):
            await app.get(Service).f(1)
            await asyncio.to_thread(app.get(Service).g, 1)
        assert seen == ["provider_down", "bypass", "bypass"]
        [line] = [record.message for record in caplog.records]
        assert "'info' command; what a user of the server has to be allowed is in" in line


async def test_a_pattern_that_is_not_allowed_is_carried_out_when_it_is(url, prefix, user, caplog):
    """Till then nothing is taken from the server; the log line names the command."""
    rights = documented(prefix)
    name = user(*rights, "-scan")
    app, seen = app_at(url, name, prefix)
    async with app:
        service = app.get(Service)
        await service.f(1)
        with (
            caplog.at_level(logging.WARNING, "stillfresh"),
            pytest.raises(ProviderUnavailable, match="'scan' command; what a user"),
        ):
            await service.f.invalidate_matching("*")
        assert ["'scan' command" in record.message for record in caplog.records] == [True]
        for _ in range(2):
            app.clock.advance("2 seconds")
            await service.f(1)
        user(*rights)
        app.clock.advance("2 seconds")
        await service.f(1)
        await service.f(1)
    assert seen == ["miss", "provider_down", "bypass", "bypass", "miss", "hit"]


@pytest.fixture
def soon_again(monkeypatch):
    """Who is refused asks again at once, and looks often."""
    monkeypatch.setattr(listening, "_REFUSED_SECONDS", 0.05)
    monkeypatch.setattr(listening, "BEAT_SECONDS", 0.02)


@pytest.mark.usefixtures("soon_again")
async def test_a_right_for_the_near_tier_that_is_given_later_counts(url, prefix, user, raw, caplog):
    """The server is asked again from time to time; one line says that it is on."""
    name = user(*documented(prefix))
    app, _ = app_at(url, name, prefix)
    async with app:
        service = app.get(Service)
        await service.near(1)
        await asyncio.sleep(0.2)  # refused, and asked again
        assert caplog.text.count("the near tier is off") == 1
        raw.execute_command("ACL", "SETUSER", name, "+client|tracking", "+role")
        async with asyncio.timeout(PATIENCE):
            while "near" not in (await service.near.explain(1)).tier:
                await service.near(1)
                await asyncio.sleep(0.001)
        assert "the near tier is on again" in caplog.text


@pytest.mark.usefixtures("soon_again")
async def test_a_right_that_is_taken_and_given_back_counts(url, prefix, user, raw):
    """What is tracked already is no reason to be refused for ever."""
    name = user(*documented(prefix, "a near tier"))
    app, _ = app_at(url, name, prefix)

    async def until_near(wanted: bool) -> None:
        async with asyncio.timeout(PATIENCE):
            while ("near" in (await service.near.explain(1)).tier) is not wanted:
                await service.near(1)
                await asyncio.sleep(0.001)

    async with app:
        service = app.get(Service)
        await until_near(True)
        raw.execute_command("ACL", "SETUSER", name, "-role")
        await until_near(False)
        raw.execute_command("ACL", "SETUSER", name, "+role")
        await until_near(True)
