"""A `Cache[T]` hands out T, by hand and as a decorator."""

from dataclasses import dataclass
from typing import assert_type

from stillfresh import MISSING, App, Cache, Stats


@dataclass
class Session:
    """What is stored."""

    user: str


sessions = Cache[Session](name="sessions", ttl="1 hour", stale="1 minute")
numbers = Cache[int](name="numbers", ttl=None)
lists = Cache[list[int]]()


class SessionService:
    sessions = Cache[Session](ttl="1 hour")

    @sessions
    async def session(self, user: str) -> Session:
        return Session(user)


async def reading() -> None:
    assert_type(await sessions.get("k"), Session | None)
    assert_type(await sessions.get("k", 1), Session | int)
    assert_type(await numbers.get("k", 0), int)
    empty = await lists.get("k", [])
    assert_type(empty, list[int])
    found = await sessions.get("k", MISSING)
    if found is not MISSING:
        assert_type(found, Session)
    assert_type(await sessions.get_many("a", "b"), dict[str, Session])
    assert_type(await sessions.get_many(["a", "b"]), dict[str, Session])
    assert_type(await sessions.contains("k"), bool)
    assert_type(await sessions.keys("*"), list[str])
    assert_type(await SessionService().sessions.get("k"), Session | None)
    assert_type(await SessionService.sessions.get("k"), Session | None)

    await sessions.get(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def writing() -> None:
    await sessions.set("k", Session("ann"), ttl=None, tags=["t"])
    await sessions.set_many({"k": Session("ann")}, ttl=(10, "minutes"))
    assert_type(await sessions.delete("a", "b"), int)
    assert_type(await numbers.incr("k", 2), int)
    await sessions.invalidate("user:*")
    await sessions.invalidate_tags("t")
    await sessions.clear()

    await sessions.set("k", "ann")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await sessions.set_many({"k": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await sessions.delete(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await numbers.incr("k", 1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Cache[int](name="x", tll=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Cache[int](vary=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Cache[int](errors=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Cache[int](enabled="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Cache[int](provider=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Cache[int]("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def make() -> Session:
    return Session("ann")


def make_now() -> Session:
    return Session("ann")


async def computing() -> None:
    assert_type(await sessions.get_or_set("k", make), Session)
    assert_type(await sessions.get_or_set("k", make_now), Session)

    await sessions.get_or_set("k", lambda: 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def blocking() -> None:
    assert_type(sessions.sync.get("k"), Session | None)
    assert_type(sessions.sync.get("k", 1), Session | int)
    assert_type(sessions.sync.get_or_set("k", make_now), Session)
    assert_type(sessions.sync.get_many("a"), dict[str, Session])
    sessions.sync.set("k", Session("ann"))

    sessions.sync.set("k", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@sessions
async def bare(user: str) -> Session:
    return Session(user)


@sessions(key="{user}", tags=["user:{user}"], ttl="1 minute")
def optioned(user: str) -> Session:
    return Session(user)


async def over_all(app: App) -> None:
    """Whatever an app lists has a name and numbers, and can be cleared."""
    for one in app.caches:
        assert_type(one.name, str)
        assert_type(one.stats, Stats)
        await one.clear()
        one.sync.clear()
        await one.invalidate("user:*")
        assert_type(await one.keys(), list[str])

        await one.get("k")  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


async def decorated(service: SessionService) -> None:
    assert_type(await bare("ann"), Session)
    assert_type(optioned("ann"), Session)
    assert_type(await service.session("ann"), Session)
    await bare.invalidate("ann")
    await service.session.invalidate("ann")
    optioned.store(Session("ann"), "ann")

    await bare(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    optioned.invalidate(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    optioned.store(1, "ann")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sessions(name="other")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
