"""The story that `python -m airports` tells, in real time and on real data."""

from __future__ import annotations

import asyncio
import tempfile
from importlib.util import find_spec
from pathlib import Path

from airports.database import Database, world
from airports.services import AirportService, CacheWarmer, DelayBoard, Trip, TripService
from airports.terminal import Story, told
from stillfresh import App

COUNTERS = ("hits", "misses", "stale", "coalesced", "fallbacks", "bypasses", "entries")


async def tell(story: Story, database: Database) -> None:
    """Run an app on the database, and tell what its caches do."""
    app = App(AirportService, DelayBoard, TripService, CacheWarmer, *over_http())
    app.provide(Database, database)
    async with app:
        airports = app.get(AirportService)
        await cold_and_warm(story, database, airports)
        await a_thousand_callers(story, database, airports)
        await a_change(story, database, airports)
        await a_change_during_a_computation(story, airports)
        await a_store(story, app.get(TripService))
        await stale(story, app, app.get(DelayBoard))
        await failing(story, database, app.get(DelayBoard))
        await warmed_up(story, database, airports)
        sync(story, airports)
        if over_http():
            from airports.pages import the_web

            await the_web(story, app, database)
        await what_happened(story, app)


def over_http() -> list[type]:
    """Return the services that answer HTTP, if what serves them is there."""
    if not all(find_spec(name) for name in ("fastapi", "httpx", "uvicorn")):
        return []
    from airports.web import AirportApi

    return [AirportApi]


async def cold_and_warm(story: Story, database: Database, airports: AirportService) -> None:
    """
    The first call computes, the next one does not.

    nearest() computes the distance of every row.
    """
    story.step(cold_and_warm)
    with story.run() as cold:
        first = await airports.nearest(48.86, 2.35)
    story.say(f"   {cold}: {', '.join(airport.name for airport in first)}")
    queries = database.queries
    with story.run() as warm:
        again = await airports.nearest(48.86, 2.35)
    story.claim(
        f"{warm}, {cold.seconds / warm.seconds:,.0f} times faster, "
        f"queries: {database.queries - queries}",
        holds=again == first and database.queries == queries and warm.seconds < cold.seconds,
    )


async def a_thousand_callers(story: Story, database: Database, airports: AirportService) -> None:
    """
    A thousand callers, one computation.

    All ask at once for what nobody has asked before.
    """
    story.step(a_thousand_callers)
    queries = database.queries
    with story.run() as cold:
        answers = await asyncio.gather(*(airports.nearest(35.68, 139.69) for _ in range(1000)))
    story.claim(
        f"{cold}, answers: {len(answers)}, queries: {database.queries - queries}",
        holds=database.queries - queries == 1 and all(answer == answers[0] for answer in answers),
    )
    queries = database.queries
    with story.run() as warm:
        answers = await asyncio.gather(*(airports.nearest(35.68, 139.69) for _ in range(1000)))
    story.claim(
        f"{warm}, answers: {len(answers)}, queries: {database.queries - queries}",
        holds=database.queries == queries,
    )


async def a_change(story: Story, database: Database, airports: AirportService) -> None:
    """
    After a change, nobody sees the old value.

    rename() drops one answer by its argument, and by tag every list that shows the airport.
    """
    story.step(a_change)
    await airports.by_country("IS")
    await airports.by_country("FR")
    before = await airports.airport("LFPB")
    with story.run():
        await airports.rename("LFPB", "Louis Blériot Airport")
    with story.run():
        after = await airports.airport("LFPB")
    story.claim(
        f"by argument: {before.name} is now {after.name}",
        holds=before.name != after.name == "Louis Blériot Airport",
    )
    with story.run():
        around = await airports.nearest(48.86, 2.35)
        french = await airports.by_country("FR")
    story.claim(
        f"by tag: both lists, of {len(around)} and of {len(french)} airports, have the new name",
        holds=after in around and after in french,
    )
    queries = database.queries
    with story.run():
        icelandic = await airports.by_country("IS")
    story.claim(
        f"the {len(icelandic)} airports of Iceland were left alone, "
        f"queries: {database.queries - queries}",
        holds=database.queries == queries,
    )


async def a_change_during_a_computation(story: Story, airports: AirportService) -> None:
    """
    A change wins over a computation that is already running.

    The answer on its way is older than the change: its caller gets it, nobody else does.
    """
    story.step(a_change_during_a_computation)
    with story.run():
        on_its_way = asyncio.create_task(airports.nearest(48.86, 2.35, 10))
    await asyncio.sleep(0.005)  # its query is running now
    with story.run():
        await airports.rename("LFPB", "Aéroport du Bourget")
    late = {airport.icao: airport.name for airport in await on_its_way}
    with story.run():
        airport, *_ = await airports.nearest(48.86, 2.35, 10)
    story.claim(
        f"the late answer says {late[airport.icao]}, the next one {airport.name}",
        holds=airport.name == "Aéroport du Bourget",
    )


async def a_store(story: Story, service: TripService) -> None:
    """
    A store without a function.

    Set and get by a key, drop by a pattern. User 1 goes, user 10 stays.
    """
    story.step(a_store)
    summer = [Trip("LFPB", "BIRK"), Trip("BIRK", "LFPB")]
    with story.run():
        await service.trips.set("1:summer", summer)
        await service.trips.set("1:winter", [Trip("LFPG", "ENTC")])
        await service.trips.set("10:work", [Trip("LFPG", "EDDF")])
    with story.run():
        kept = await service.trips.get("1:summer")
    story.claim(f"kept: {kept}", holds=kept == summer)
    with story.run():
        await service.trips.invalidate("1:*")
    left = await service.trips.keys()
    story.claim(f"left of all: {', '.join(left)}", holds=left == ["10:work"])


async def stale(story: Story, app: App, board: DelayBoard) -> None:
    """
    An old answer at once, the new one right behind.

    A delay is fresh for 1 second. For 2 more it is served while it is computed again.
    """
    story.step(stale)
    with story.run() as cold:
        first = await board.delay("LFPG")
    story.say(f"   {cold}: {first} minutes")
    with story.run():
        await board.report("LFPO", 25)
        await asyncio.sleep(1.2)
    stale_before = board.delay.stats.stale
    with story.run() as at_once:
        old = await board.delay("LFPG")
    story.claim(
        f"{at_once}: {old} minutes, stale, nobody waited",
        holds=old == first and board.delay.stats.stale == stale_before + 1,
    )
    with story.run():
        await app.settled()  # the refresh is through
    with story.run() as fresh:
        new = await board.delay("LFPG")
    story.claim(f"{fresh}: {new} minutes", holds=(old, new) == (0, 25))


async def failing(story: Story, database: Database, board: DelayBoard) -> None:
    """
    The source fails, its callers do not.

    When the function raises, the last good answer is served, for up to 1 minute.
    """
    story.step(failing)
    await board.report("LFPO", 40)
    await asyncio.sleep(3.2)  # 1 second of fresh and 2 of stale are over
    fallbacks = board.delay.stats.fallbacks
    with story.run() as down:  # noqa: SIM117 - the block below is shown
        with database.unplugged():
            old = await board.delay("LFPG")
    story.claim(
        f"{down}: {old} minutes, while the database file was away",
        holds=board.delay.stats.fallbacks == fallbacks + 1,
    )
    await asyncio.sleep(1.2)  # after a failure the next try waits a second
    with story.run() as up:
        new = await board.delay("LFPG")
    story.claim(f"{up}: {new} minutes, now that it is back", holds=(old, new) == (25, 40))


async def warmed_up(story: Story, database: Database, airports: AirportService) -> None:
    """
    Warm before the first caller.

    CacheWarmer has a @hook("ready") that called top_countries() when the app started.
    """
    story.step(warmed_up)
    queries = database.queries
    with story.run() as first:
        top = await airports.top_countries()
    story.claim(
        f"{first}: {', '.join(f'{country} {count:,}' for country, count in top)}, "
        f"queries: {database.queries - queries}",
        holds=database.queries == queries,
    )


def sync(story: Story, airports: AirportService) -> None:
    """
    Sync functions stay sync.

    longest_hop() compares each airport with each other.
    """
    story.step(sync)
    with story.run() as cold:
        a, b = airports.longest_hop("FR")
    story.say(f"   {cold}: {a.name} to {b.name}")
    with story.run() as warm:
        again = airports.longest_hop("FR")
    story.claim(
        f"{warm}, {cold.seconds / warm.seconds:,.0f} times faster",
        holds=again == (a, b) and warm.seconds < cold.seconds,
    )


async def what_happened(story: Story, app: App) -> None:
    """
    What the caches did.

    Each one counts its calls, and explain() tells about one key.
    """
    story.step(what_happened)
    airports = app.get(AirportService)
    stats = {
        "airport": airports.airport.stats,
        "nearest": airports.nearest.stats,
        "by_country": airports.by_country.stats,
        "top_countries": airports.top_countries.stats,
        "longest_hop": airports.longest_hop.stats,
        "delay": app.get(DelayBoard).delay.stats,
        "trips": app.get(TripService).trips.stats,
    }
    rows = {name: [getattr(counted, key) for key in COUNTERS] for name, counted in stats.items()}
    story.table([("", *COUNTERS), *((name, *counts) for name, counts in rows.items())])
    hits, *others, _ = map(sum, zip(*rows.values(), strict=True))
    calls = hits + sum(others)
    story.say(f"   hit ratio: {hits:,} of {calls:,} calls, {hits / calls:.0%}")
    with story.run():
        explained = await airports.nearest.explain(35.68, 139.69)
    for line in str(explained).splitlines():
        story.say(f"   {line}")
    story.claim(f"status: {explained.status}", holds=explained.status == "hit")


def narrate(story: Story) -> None:
    """Make the database, and tell the story."""
    with tempfile.TemporaryDirectory() as directory:
        airports = world()
        database = Database(Path(directory) / "airports.sqlite", airports)
        story.say(f"{len(airports):,} airports in SQLite, behind stillfresh.", "bold")
        asyncio.run(tell(story, database))


def main() -> int:
    """Tell the story; 0 if everything came out as promised, 1 if not."""
    return told(narrate)
