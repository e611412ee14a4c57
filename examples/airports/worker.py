"""One of several processes with the same services: it does what lines on stdin ask for."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from airports.database import Database
from airports.services import AirportService, CacheWarmer, DelayBoard, Trip, TripService
from stillfresh import App, CacheProvider, RedisCacheProvider

COUNTERS = ("hits", "misses", "coalesced", "bypasses")

Desk = Mapping[str, Callable[..., Awaitable[object]]]


class Log(logging.Handler):
    """Keeps what stillfresh logs, for the story to tell."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def work(path: Path) -> None:
    """Run the app on the database at *path* until stdin ends."""
    database = Database(path)
    app = App(AirportService, DelayBoard, TripService, CacheWarmer)
    app.provide(Database, database)
    app.provide(CacheProvider, RedisCacheProvider)
    log = Log()
    logging.getLogger("stillfresh").addHandler(log)
    async with app:
        desk = desk_of(app, database, log)
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            sys.stdout.buffer.write(msgspec.json.encode(await answer(desk, line)) + b"\n")
            sys.stdout.buffer.flush()


async def answer(desk: Desk, line: bytes) -> dict[str, object]:
    """Do what a line such as `["airport", "LFPG"]` asks for."""
    name, *arguments = msgspec.json.decode(line)
    try:
        return {"answer": await desk[name](*arguments)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the story tells it
        return {"error": f"{type(error).__name__}: {error}"}


def desk_of(app: App, database: Database, log: Log) -> Desk:
    """What may be asked for, by name: the services as they are, and what was counted."""
    airports, trips = app.get(AirportService), app.get(TripService)

    async def plan(user_id: int, title: str, planned: list[Any]) -> None:
        await trips.plan(user_id, title, msgspec.convert(planned, list[Trip]))

    async def queries() -> int:
        return database.queries

    async def logged() -> list[str]:
        lines, log.lines = log.lines, []
        return lines

    async def stats() -> dict[str, dict[str, int]]:
        caches = {
            "airport": airports.airport.stats,
            "nearest": airports.nearest.stats,
            "by_country": airports.by_country.stats,
            "top_countries": airports.top_countries.stats,
            "trips": trips.trips.stats,
        }
        return {
            name: {counter: getattr(counted, counter) for counter in COUNTERS}
            for name, counted in caches.items()
        }

    return {
        "airport": airports.airport,
        "nearest": airports.nearest,
        "by_country": airports.by_country,
        "rename": airports.rename,
        "plan": plan,
        "planned": trips.planned,
        "queries": queries,
        "logged": logged,
        "stats": stats,
    }


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))
