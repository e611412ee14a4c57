"""Hit ratios: what a small memory keeps of five kinds of traffic."""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from frame import OURS, Case, Row

from stillfresh import MemoryCacheProvider
from stillfresh.computing.drivers import drive
from stillfresh.entry import Entry, Windows
from stillfresh.providers.base import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from run import Scale

UNIVERSE = 50_000
FOREVER = Windows(float("inf"))


def zipf(seed: int, count: int, skew: float) -> list[int]:
    """Return *count* numbers, of which the first are asked for most."""
    weights = list(itertools.accumulate(1 / rank**skew for rank in range(1, UNIVERSE + 1)))
    return random.Random(seed).choices(range(UNIVERSE), cum_weights=weights, k=count)


def scans(seed: int, count: int) -> Iterator[int]:
    """Seven of ten as Zipf says, between them runs over keys that never come again."""
    rng, unseen = random.Random(seed), itertools.count(UNIVERSE)
    popular = iter(zipf(seed, count, 1.0))
    left = count
    while left > 0:
        scan = rng.random() < 0.3
        for _ in range(min(left, 500)):
            yield next(unseen) if scan else next(popular)
        left -= 500


def loops(seed: int, count: int) -> Iterator[int]:
    """Seven of ten as Zipf says, three from a loop over 8000 keys."""
    rng, turn = random.Random(seed), itertools.cycle(range(UNIVERSE, UNIVERSE + 8_000))
    for number in zipf(seed, count, 0.9):
        yield next(turn) if rng.random() < 0.3 else number


def shifts(seed: int, count: int) -> Iterator[int]:
    """Four times, other keys become the popular ones."""
    for part in range(4):
        names = list(range(UNIVERSE))
        random.Random(seed + part).shuffle(names)
        yield from (names[number] for number in zipf(seed + part, count // 4, 1.0))


TRACES: dict[str, Callable[[int, int], Any]] = {
    "Zipf 0.8": lambda seed, count: zipf(seed, count, 0.8),
    "Zipf 1.0": lambda seed, count: zipf(seed, count, 1.0),
    "Zipf 1.0 with scans": scans,
    "Zipf 0.9 with a loop": loops,
    "Zipf 1.0, shifting": shifts,
}


def ours(most: int) -> Callable[[str], bool]:
    """Return a read of our memory that stores what is missing; it answers whether it hit."""
    provider = MemoryCacheProvider(max_entries=most)
    look, put = provider.look, provider.put

    def read(key: str) -> bool:
        address = Address("ns", key)
        if drive(look(address)) is not None:
            return True
        drive(put([(address, Entry(key, 0.0, FOREVER))]))
        return False

    return read


def lru(most: int) -> Callable[[str], bool]:
    there: OrderedDict[str, None] = OrderedDict()

    def read(key: str) -> bool:
        if key in there:
            there.move_to_end(key)
            return True
        there[key] = None
        if len(there) > most:
            there.popitem(last=False)
        return False

    return read


def of_mapping(there: Any) -> Callable[[str], bool]:
    def read(key: str) -> bool:
        if there.get(key) is not None:
            return True
        there[key] = key
        return False

    return read


def readers(most: int) -> dict[str, Callable[[str], bool]]:
    found = {"LRU": lru(most), OURS: ours(most)}
    try:
        import cachebox

        found["cachebox LFU"] = of_mapping(cachebox.LFUCache(most))
    except ImportError:
        pass
    try:
        import theine

        cache = theine.Cache(most)

        def of_theine(key: str) -> bool:
            if cache.get(key)[1]:
                return True
            cache.set(key, key)
            return False

        found["theine"] = of_theine
    except ImportError:
        pass
    return found


def traces(scale: Scale) -> list[Case]:
    """Per cent of the calls that hit."""
    found = []
    count = scale.less(400_000, 4)
    for share in (1, 10):
        for title, make in TRACES.items():
            name = f"trace-{title.lower().replace(' ', '-').replace(',', '')}-{share}"
            case = Case(name, f"Hit ratio, {title}, room for {share} %", "%", more_is_better=True)
            trace = [f"key-{number}" for number in make(share, count)]
            for who, read in readers(UNIVERSE * share // 100).items():
                hits = sum(map(read, trace))
                case.rows.append(Row(who, [100 * hits / len(trace)]))
            ahead = case.row(OURS).values[0] - case.row("LRU").values[0]  # type: ignore[union-attr]
            if share == 1 and title.startswith("Zipf") and "with" not in title:
                case.goal("points ahead of LRU", 5.0, ahead, least=True)
            else:
                case.goal("points ahead of LRU", -1.0, ahead, least=True)
            found.append(case)
    return found


CASES = {"traces": traces}
