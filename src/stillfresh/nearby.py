"""
A reader that looks nearby first: in what this process has kept of a shared provider.

    look ── near ── may be served ──────────────────────────────► the object itself
              │
              ▼
            begin ── the provider is asked ── FRESH ── keep ────► the next call finds it near
                                                 (unless something changed since `begin`)

Only what was read is kept, never what this process has stored: the push about its own store may
come after the reply, and would be taken for a change. What each reader has kept is its own, so a
change that its guard could not deliver is never undone by what another app has read.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .entry import MISSING, Entry, Verdict, judge
from .errors import ProviderUnavailable
from .readthrough import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from .codecs import Codec
    from .computing.drivers import Driver
    from .entries.region import Region
    from .options import MemoryTier, Policy
    from .providers.near import Read
    from .providers.tier import Tier

Opened = tuple[Entry | None, object]
"""An entry, and its value as it is handed out."""


class NearReader(Reader):
    """A reader with a near tier."""

    def __init__(
        self,
        region: Region,
        policy: Policy,
        codec: Callable[[], Codec],
        tier: Tier,
        memory: MemoryTier,
    ) -> None:
        super().__init__(region, policy, codec)
        self._tier = tier
        self._nook = tier.near.nook(memory)

    @cached_property
    def quick(self) -> bool:
        return True

    @cached_property
    def glances(self) -> bool:
        return False

    def near(self, key: str) -> Entry | None:
        [name] = self._tier.names_of(self.region.address(key))
        return self._tier.near.find(self._nook, name)

    async def look(self, key: str, driver: Driver) -> Opened:
        found = self._opened(key)
        if found is not None:
            return found
        read = self._begin(driver)
        return self._kept(read, key, await super().look(key, driver))

    async def look_many(self, keys: list[str], driver: Driver) -> list[Opened]:
        found = {key: near for key in keys if (near := self._opened(key)) is not None}
        asked = [key for key in dict.fromkeys(keys) if key not in found]
        if asked:
            read = self._begin(driver)
            for key, opened in zip(asked, await super().look_many(asked, driver), strict=True):
                found[key] = self._kept(read, key, opened)
        return [found[key] for key in keys]

    async def peek(self, key: str, driver: Driver) -> object:
        found = self._opened(key)
        return await super().peek(key, driver) if found is None else self.hand_out(found[1])

    def _opened(self, key: str) -> Opened | None:
        entry = self.near(key)
        # Another thread may be dropping it: then its value is gone, or goes in a moment.
        value = MISSING if entry is None else getattr(entry, "value", MISSING)
        return None if value is MISSING else (entry, value)

    def _begin(self, driver: Driver) -> Read | None:
        region = self.region
        try:
            ear = driver.ops(region.guard).ear()
        except ProviderUnavailable:
            return None
        self._tier.tell_refusal(region.listeners)
        return None if ear is None else self._tier.near.begin(ear)

    def _kept(self, read: Read | None, key: str, opened: Opened) -> Opened:
        entry, value = opened
        if (
            read is None
            or entry is None
            or judge(entry, self.region.clock.now()) is not Verdict.FRESH
        ):
            return opened
        address = self.region.address(key)
        names = self._tier.names_of(address, entry.tags)
        kept = self._tier.near.keep(read, self._nook, address, entry, value=value, names=names)
        return opened if kept is None else (kept, value)
