"""The source of truth: a SQLite file with one row per airport."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from typing import Any

import airportsdata

EARTH_RADIUS_KM = 6371.0

SCHEMA = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE airports (icao PRIMARY KEY, iata, name, city, country, latitude, longitude);
    CREATE TABLE delays (icao PRIMARY KEY, minutes);
    CREATE INDEX airports_by_country ON airports (country, name);
"""


@dataclass(frozen=True)
class Airport:
    """One airport; the fields are the columns of its row."""

    icao: str
    iata: str
    name: str
    city: str
    country: str
    latitude: float
    longitude: float


def world() -> list[Airport]:
    """Every airport with an ICAO code, about 28,000 of them."""
    return [
        Airport(
            icao=row["icao"],
            iata=row["iata"],
            name=row["name"],
            city=row["city"],
            country=row["country"],
            latitude=row["lat"],
            longitude=row["lon"],
        )
        for row in airportsdata.load("ICAO").values()
    ]


def kilometres(latitude: float, longitude: float, latitude2: float, longitude2: float) -> float:
    """The great-circle distance of two points in degrees, by the haversine formula."""
    a, b = radians(latitude), radians(latitude2)
    half_a_turn = sin((b - a) / 2), sin(radians(longitude2 - longitude) / 2)
    chord = half_a_turn[0] ** 2 + cos(a) * cos(b) * half_a_turn[1] ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(chord))


class Database:
    """
    The airports in a SQLite file at *path*: a new one, or without *airports* one that is there.

    It knows nothing of caches. `queries` counts the statements that really ran.
    """

    def __init__(self, path: Path, airports: Iterable[Airport] | None = None) -> None:
        self.path = path
        self.queries = 0
        self._counting = threading.Lock()
        if airports is not None:
            self._create(airports)

    def _create(self, airports: Iterable[Airport]) -> None:
        rows = [astuple(airport) for airport in airports]
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executescript(SCHEMA)
            connection.executemany("INSERT INTO airports VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute("INSERT INTO delays SELECT icao, 0 FROM airports")

    async def query(self, sql: str, *values: str | float) -> list[tuple[Any, ...]]:
        """Run one statement in a worker thread, and return its rows."""
        return await asyncio.to_thread(self.query_sync, sql, *values)

    def query_sync(self, sql: str, *values: str | float) -> list[tuple[Any, ...]]:
        """Run one statement here and now, and return its rows."""
        # mode=rw: a file that is gone is an error, not a new empty database.
        location = f"{self.path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(location, uri=True)) as connection, connection:
            connection.create_function("kilometres", 4, kilometres, deterministic=True)
            with self._counting:
                self.queries += 1
            return connection.execute(sql, values).fetchall()

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Move the file away, so that every query inside the block truly fails."""
        away = self.path.with_name(f"{self.path.name}.away")
        self.path.rename(away)
        try:
            yield
        finally:
            away.rename(self.path)
