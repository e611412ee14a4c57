"""A memory that is full: what it costs to write one more, and what an entry weighs."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from frame import OURS, Case, Row, compete

from stillfresh import MemoryCacheProvider
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from run import Scale

TTL = 300.0
WINDOWS = Windows(TTL)
BATCH = 10_000

Write = "Callable[[str, object], None]"


class PlainLru:
    """What everybody writes by hand: an OrderedDict with a time to live. No lock, no tags."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.there: OrderedDict[str, tuple[object, float]] = OrderedDict()

    def set(self, key: str, value: object) -> None:
        there = self.there
        if key in there:
            there.move_to_end(key)
        there[key] = value, time.monotonic() + TTL
        if len(there) > self.most:
            there.popitem(last=False)


class LruBehindTheSameDoor(PlainLru):
    """The same, asked as our provider is: an entry at an address, by a coroutine."""

    async def put(self, entries: list[tuple[Address, Entry]]) -> None:
        there = self.there
        for address, entry in entries:
            if address.key in there:
                there.move_to_end(address.key)
            there[address.key] = entry  # type: ignore[assignment]
            if len(there) > self.most:
                there.popitem(last=False)


def writers(most: int) -> dict[str, Any]:
    """Return something with `set`, or with `put` where it is asked as a provider."""
    found: dict[str, Any] = {
        "OrderedDict LRU": PlainLru(most),
        "OrderedDict LRU as a provider": LruBehindTheSameDoor(most),
        OURS: MemoryCacheProvider(max_entries=most),
    }
    try:
        import cachetools

        found["cachetools TTLCache"] = TtlCache(cachetools.TTLCache(most, TTL))
    except ImportError:
        pass
    try:
        import cachebox

        found["cachebox TTLCache"] = TtlCache(cachebox.TTLCache(most, TTL))
    except ImportError:
        pass
    try:
        from datetime import timedelta

        import theine

        cache = theine.Cache(most)
        found["theine"] = Setter(lambda key, value: cache.set(key, value, timedelta(seconds=TTL)))
    except ImportError:
        pass
    return found


class TtlCache:
    """A mapping that knows about time itself."""

    def __init__(self, there: Any) -> None:
        self.there = there

    def set(self, key: str, value: object) -> None:
        self.there[key] = value


class Setter:
    """Something that is called to be written to."""

    def __init__(self, write: Callable[[str, object], object]) -> None:
        self.set = write


async def fill(writer: Any, keys: list[str]) -> float:
    """Write *keys*, one at a time; return nanoseconds for one."""
    gc.disable()
    begin = time.thread_time()
    if hasattr(writer, "put"):
        put, now = writer.put, time.monotonic
        for key in keys:
            await put([(Address("ns", key), Entry(key, now(), WINDOWS))])
    else:
        for key in keys:
            writer.set(key, key)
    passed = time.thread_time() - begin
    gc.enable()
    return passed / len(keys) * 1e9


def fresh(start: int) -> Iterator[list[str]]:
    """Yield batches of keys that were never there."""
    while True:
        yield [f"key-{number}" for number in range(start, start + BATCH)]
        start += BATCH


def set_and_evict(scale: Scale) -> list[Case]:
    """Write into a full memory."""
    found = []
    for most in (scale.less(100_000), scale.less(1_000_000)):
        case = Case(
            f"set-and-evict-{most}",
            f"Set and evict, {most:,} entries",
            "ns",
            measure="OrderedDict LRU",
            note="The goal is stated for an LRU that is called directly; 'as a provider' is the "
            "same LRU with entries, addresses and a coroutine around it, as ours has.",
        )

        async def run(case: Case, most: int) -> None:
            plays: dict[str, Any] = {}
            for name, writer in writers(most).items():
                batches = fresh(0)
                while len(writer.there if hasattr(writer, "there") else ()) < most:
                    await fill(writer, next(batches))
                    if not hasattr(writer, "there"):
                        for _ in range(most // BATCH):
                            await fill(writer, next(batches))
                        break

                async def play(writer: Any = writer, batches: Any = batches) -> float:
                    return await fill(writer, next(batches))

                plays[name] = play
            await compete(case, plays, 5 if scale.quick else 9)

        asyncio.run(run(case, most))
        ours, same = case.row(OURS), case.row("OrderedDict LRU as a provider")
        case.goal("times an OrderedDict LRU", 1.6, ours and ours.ratio)
        if ours and same and ours.ratio and same.ratio:
            case.goal("times the same LRU as a provider", 1.6, ours.ratio / same.ratio)
        found.append(case)
    return found


def weight(scale: Scale) -> list[Case]:
    """Bytes of an entry, without its key and its value."""
    found = []
    for most in (scale.less(100_000), scale.less(1_000_000)):
        case = Case(
            f"bytes-{most}",
            f"Bytes per entry, {most:,} entries, without key and value",
            "bytes",
            measure="OrderedDict LRU",
            note="All have a time to live of their own for each entry. Memory that Rust takes by "
            "itself is not seen here: cachebox and theine would look too light, and are left out.",
        )
        keys = [f"key-{number}" for number in range(most)]
        for name in ("OrderedDict LRU", OURS, "cachetools TTLCache"):
            writer = writers(most).get(name)
            if writer is None:
                continue
            gc.collect()
            tracemalloc.start()
            asyncio.run(fill(writer, keys))
            taken, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            case.rows.append(Row(name, [taken / most]))
        measure = case.rows[0].values[0]
        for row in case.rows:
            row.ratios = [value / measure for value in row.values]
        ours = case.row(OURS)
        case.goal("times an OrderedDict LRU", 1.0, ours and ours.ratio)
        found.append(case)
    return found


CASES = {"set-and-evict": set_and_evict, "bytes": weight}
