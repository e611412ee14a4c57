"""Services with cached queries: what an application writes to use stillfresh."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from airports.database import Airport, Database, kilometres
from stillfresh import App, Cache, cache, hook, inject


class UnknownAirport(LookupError):
    """No airport has this ICAO code."""


def each_airport(airports: list[Airport], *_: object) -> list[str]:
    """One tag per airport in an answer, so that a change to one drops every answer with it."""
    return ["airports", *(f"airport:{airport.icao}" for airport in airports)]


def distance(pair: tuple[Airport, Airport]) -> float:
    """How far apart two airports are, in kilometres."""
    a, b = pair
    return kilometres(a.latitude, a.longitude, b.latitude, b.longitude)


class AirportService:
    """Where airports are and what they are called."""

    app = inject(App)
    database = inject(Database)

    @cache(ttl="1 hour", tags=["airports"])
    async def airport(self, icao: str) -> Airport:
        """The airport with this ICAO code; an `UnknownAirport` is raised and never cached."""
        rows = await self.database.query("SELECT * FROM airports WHERE icao = ?", icao)
        if not rows:
            raise UnknownAirport(icao)
        return Airport(*rows[0])

    @cache(ttl="10 minutes", tags=each_airport)
    async def nearest(self, latitude: float, longitude: float, count: int = 3) -> list[Airport]:
        """The airports closest to a point. No index helps: every distance is computed."""
        rows = await self.database.query(
            "SELECT * FROM airports ORDER BY kilometres(latitude, longitude, ?, ?) LIMIT ?",
            latitude,
            longitude,
            count,
        )
        return [Airport(*row) for row in rows]

    @cache(ttl="1 hour", tags=["airports", "country:{country}"])
    async def by_country(self, country: str) -> list[Airport]:
        """The airports of a country, by name."""
        rows = await self.database.query(
            "SELECT * FROM airports WHERE country = ? ORDER BY name", country
        )
        return [Airport(*row) for row in rows]

    @cache(ttl="1 day", tags=["airports"])
    async def top_countries(self, limit: int = 3) -> list[tuple[str, int]]:
        """The countries with the most airports, and how many."""
        rows = await self.database.query(
            "SELECT country, count(*) FROM airports GROUP BY country ORDER BY 2 DESC LIMIT ?", limit
        )
        return [(country, count) for country, count in rows]

    @cache(ttl="1 day", tags=["airports", "country:{country}"])
    def longest_hop(self, country: str) -> tuple[Airport, Airport]:
        """The two airports of a country that lie farthest apart. A sync function stays sync."""
        rows = self.database.query_sync("SELECT * FROM airports WHERE country = ?", country)
        return max(combinations([Airport(*row) for row in rows], 2), key=distance)

    async def rename(self, icao: str, name: str) -> None:
        """Write a new name, then drop every answer that shows the old one."""
        rows = await self.database.query(
            "UPDATE airports SET name = ? WHERE icao = ? RETURNING country", name, icao
        )
        await self.airport.invalidate(icao)  # by argument: one answer of one function
        for (country,) in rows:  # by tag: answers of any function
            await self.app.invalidate_tags(f"airport:{icao}", f"country:{country}")

    async def close(self, icao: str) -> None:
        """Remove an airport; lists, counts and neighbours may all change, so drop everything."""
        await self.database.query("DELETE FROM airports WHERE icao = ?", icao)
        await self.app.invalidate_tags("airports")


class DelayBoard:
    """How late flights are: a feed that changes without telling anybody, and that can fail."""

    database = inject(Database)

    @cache(ttl="1 second", stale="2 seconds", stale_if_error="1 minute")
    async def delay(self, icao: str) -> int:
        """The longest delay within 100 km of an airport, in minutes."""
        rows = await self.database.query(
            """
            SELECT max(delays.minutes)
            FROM airports AS here JOIN airports AS near JOIN delays ON delays.icao = near.icao
            WHERE here.icao = ?
            AND kilometres(here.latitude, here.longitude, near.latitude, near.longitude) < 100
            """,
            icao,
        )
        return int(rows[0][0])

    async def report(self, icao: str, minutes: int) -> None:
        """What a tower does: it writes to the database and knows of no cache."""
        await self.database.query("UPDATE delays SET minutes = ? WHERE icao = ?", minutes, icao)


@dataclass(frozen=True)
class Trip:
    """One flight that somebody plans."""

    origin: str
    destination: str


class TripService:
    """Trips that people plan: a store used by hand, with no function behind it."""

    trips = Cache[list[Trip]](name="trips", ttl="1 hour")

    async def plan(self, user_id: int, title: str, trips: list[Trip]) -> None:
        """Keep the trips under a title."""
        await self.trips.set(f"{user_id}:{title}", trips)

    async def planned(self, user_id: int, title: str) -> list[Trip]:
        """The trips under a title; none if nothing is kept."""
        return await self.trips.get(f"{user_id}:{title}") or []

    async def drop(self, user_id: int, title: str) -> None:
        """Drop one title."""
        await self.trips.delete(f"{user_id}:{title}")

    async def forget(self, user_id: int) -> None:
        """Drop everything of one user, and nothing of user 10 when it is user 1."""
        await self.trips.invalidate(f"{user_id}:*")


class CacheWarmer:
    """Asks before the first caller does."""

    airports = inject(AirportService)

    @hook("ready")
    async def warm(self) -> None:
        """Runs when all services have started; the app is ready when it returns."""
        await self.airports.top_countries()
