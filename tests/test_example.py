"""The example: what its story claims, on a small database and a virtual clock."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from airports.database import Airport, Database
from airports.services import (
    AirportService,
    CacheWarmer,
    DelayBoard,
    Trip,
    TripService,
    UnknownAirport,
)
from stillfresh import App
from stillfresh.testing import VirtualClock

EXAMPLES = Path(__file__).parent.parent / "examples"
PARIS = (48.86, 2.35)

AIRPORTS = [
    Airport("LFPB", "LBG", "Le Bourget", "Paris", "FR", 48.97, 2.44),
    Airport("LFPO", "ORY", "Orly", "Paris", "FR", 48.72, 2.38),
    Airport("LFPG", "CDG", "Charles de Gaulle", "Paris", "FR", 49.01, 2.55),
    Airport("LFMN", "NCE", "Nice", "Nice", "FR", 43.66, 7.21),
    Airport("BIRK", "RKV", "Reykjavik", "Reykjavik", "IS", 64.13, -21.94),
    Airport("BIKF", "KEF", "Keflavik", "Reykjavik", "IS", 63.98, -22.61),
]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "airports.sqlite", AIRPORTS)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def app(database: Database, clock: VirtualClock) -> App:
    """The app of the example without its warmer; each test starts it."""
    return App(AirportService, DelayBoard, TripService, clock=clock).provide(Database, database)


async def test_a_warm_call_asks_the_source_nothing(app: App, database: Database) -> None:
    """The second call with the same arguments, however they are written, runs no query."""
    async with app:
        airports = app.get(AirportService)
        first = await airports.nearest(*PARIS)
        assert [airport.icao for airport in first] == ["LFPB", "LFPO", "LFPG"]
        assert await airports.nearest(longitude=PARIS[1], latitude=PARIS[0], count=3) == first
        assert database.queries == 1


async def test_a_thousand_callers_share_one_computation(app: App, database: Database) -> None:
    """A thousand calls at once for a cold key run one query, and all get its answer."""
    async with app:
        airports = app.get(AirportService)
        answers = await asyncio.gather(*(airports.nearest(*PARIS) for _ in range(1000)))
        assert database.queries == 1
        assert all(answer == answers[0] for answer in answers)
        assert airports.nearest.stats.misses == 1
        assert airports.nearest.stats.coalesced == 999


async def test_a_rename_is_seen_by_argument_and_by_tag(app: App) -> None:
    """After rename() has returned, the airport and every list that shows it have the new name."""
    async with app:
        airports = app.get(AirportService)

        async def names() -> set[str]:
            found = [
                await airports.airport("LFPB"),
                *await airports.nearest(*PARIS),
                *await airports.by_country("FR"),
            ]
            return {airport.name for airport in found if airport.icao == "LFPB"}

        assert await names() == {"Le Bourget"}
        await airports.rename("LFPB", "Louis Blériot")
        assert await names() == {"Louis Blériot"}


async def test_a_rename_leaves_other_answers_alone(app: App, database: Database) -> None:
    """A rename in France costs no query about Iceland."""
    async with app:
        airports = app.get(AirportService)
        await airports.by_country("IS")
        await airports.nearest(64.0, -22.0, 2)
        await airports.airport("BIRK")
        await airports.rename("LFPB", "Louis Blériot")
        queries = database.queries
        await airports.by_country("IS")
        await airports.nearest(64.0, -22.0, 2)
        await airports.airport("BIRK")
        assert database.queries == queries


async def test_a_closed_airport_is_in_no_answer(app: App) -> None:
    """One tag on every function drops all answers together."""
    async with app:
        airports = app.get(AirportService)
        await airports.airport("LFPB")
        await airports.nearest(*PARIS)
        assert await airports.top_countries() == [("FR", 4), ("IS", 2)]
        await airports.close("LFPB")
        assert await airports.top_countries() == [("FR", 3), ("IS", 2)]
        assert [airport.icao for airport in await airports.nearest(*PARIS, 1)] == ["LFPO"]
        with pytest.raises(UnknownAirport):
            await airports.airport("LFPB")


async def test_an_error_is_not_cached(app: App, database: Database) -> None:
    """A source that failed is asked again by the next call."""
    async with app:
        airports = app.get(AirportService)
        with database.unplugged(), pytest.raises(sqlite3.OperationalError):
            await airports.airport("LFPB")
        assert (await airports.airport("LFPB")).name == "Le Bourget"


async def test_a_stale_delay_is_served_while_one_refresh_runs(
    app: App, database: Database, clock: VirtualClock
) -> None:
    """Past its ttl the old delay comes at once; behind it one query fetches the new one."""
    async with app:
        board = app.get(DelayBoard)
        assert await board.delay("LFPG") == 0
        await board.report("LFPO", 25)
        assert await board.delay("LFPG") == 0
        clock.advance("1.5 seconds")
        queries = database.queries
        assert await asyncio.gather(*(board.delay("LFPG") for _ in range(10))) == [0] * 10
        await app.settled()
        assert await board.delay("LFPG") == 25
        assert database.queries == queries + 1
        assert board.delay.stats.stale == 10


async def test_a_failing_source_is_covered_by_the_old_delay(
    app: App, database: Database, clock: VirtualClock
) -> None:
    """While the database is away the last delay is served, and when it is back the new one."""
    async with app:
        board = app.get(DelayBoard)
        assert await board.delay("LFPG") == 0
        await board.report("LFPO", 40)
        clock.advance("10 seconds")
        with database.unplugged():
            assert await board.delay("LFPG") == 0
        assert board.delay.stats.fallbacks == 1
        clock.advance("2 seconds")
        assert await board.delay("LFPG") == 40


async def test_an_old_delay_is_not_served_for_ever(
    app: App, database: Database, clock: VirtualClock
) -> None:
    """When the minute of `stale_if_error` is over, callers get the error of the source."""
    async with app:
        board = app.get(DelayBoard)
        await board.delay("LFPG")
        clock.advance("62 seconds")
        with database.unplugged(), pytest.raises(sqlite3.OperationalError):
            await board.delay("LFPG")


async def test_trips_are_kept_dropped_and_forgotten(app: App, clock: VirtualClock) -> None:
    """A store keeps, deletes, invalidates by a pattern, and lets go after its ttl."""
    async with app:
        service = app.get(TripService)
        there, back = Trip("LFPB", "BIRK"), Trip("BIRK", "LFPB")
        await service.plan(1, "summer", [there, back])
        await service.plan(1, "winter", [there])
        await service.plan(10, "work", [back])
        assert await service.planned(1, "summer") == [there, back]

        await service.drop(1, "winter")
        assert await service.planned(1, "winter") == []
        assert await service.planned(1, "summer") == [there, back]

        await service.forget(1)
        assert await service.planned(1, "summer") == []
        assert await service.planned(10, "work") == [back]

        clock.advance("61 minutes")
        assert await service.planned(10, "work") == []


async def test_the_warmer_asks_before_the_first_caller(database: Database) -> None:
    """Once the app runs, the first call of a warmed function is a hit."""
    app = App(AirportService, CacheWarmer).provide(Database, database)
    async with app:
        assert database.queries == 1
        assert await app.get(AirportService).top_countries() == [("FR", 4), ("IS", 2)]
        assert database.queries == 1


def test_a_sync_function_is_cached_and_stays_sync(app: App, database: Database) -> None:
    """longest_hop() is called, dropped and called again without an await."""
    with app:
        airports = app.get(AirportService)
        hop = airports.longest_hop("FR")
        assert {airport.icao for airport in hop} == {"LFPB", "LFMN"}
        assert airports.longest_hop("FR") == hop
        assert database.queries == 1
        airports.longest_hop.invalidate("FR")
        assert airports.longest_hop("FR") == hop
        assert database.queries == 2


def test_the_story_ends_well() -> None:
    """`python -m airports` keeps every promise it prints, in plain text when nobody looks."""
    told = subprocess.run(
        [sys.executable, "-m", "airports"],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
        timeout=60,
        encoding="utf-8",
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    assert "\x1b" not in told.stdout
    assert "NOT AS PROMISED" not in told.stdout
    assert "answers: 1000, queries: 1\n" in told.stdout
    assert "Paris-Le Bourget Airport is now Louis Blériot Airport" in told.stdout
    for line in (
        "1. The first call computes, the next one does not",
        "25 minutes, while the database file was away",
        "40 minutes, now that it is back",
        "10. The same over HTTP: 200 with an ETag, then 304 without a body",
        "ok: 304, 0 bytes, queries: 0",
        "answers: 50, runs: 1, queries: 1",
        "ok: 200, with the new name",
        "13. What the caches did",
        "hit ratio: ",
        "ok: status: hit",
    ):
        assert line in told.stdout


def test_the_story_stops_quietly_when_its_reader_leaves() -> None:
    """`python -m airports | head -1` prints one line and no traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "airports"],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as story:
        assert story.stdout
        assert story.stderr
        assert b"airports" in story.stdout.readline()
        story.stdout.close()
        assert story.stderr.read() == b""
        assert story.wait() == 141
