"""
The contract between the cache and whatever keeps its entries.

A provider keeps entries under addresses and hands out leases. A lease is the right to compute
the value of one address: there is at most one, and whatever changes the entry by hand ends it.
That is the whole invalidation promise: a store names its lease, and without it nothing is
written.

    1. reader A    acquire(k)  -> lease 1, calls the function
    2. writer      changes the source, delete(k)     (lease 1 ends here)
    3. reader B    acquire(k)  -> lease 2, calls the function again
    4. reader A    store(lease 1, old value)  -> False, nothing is written
    5. reader B    store(lease 2, new value)  -> True

`stillfresh.testing.ProviderContract` is this page as tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import InvalidOption, ProviderUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence
    from typing import Literal, TypeAlias

    from ..clock import Clock
    from ..entry import Entry, Windows
    from ..tags import Scope

    ProviderOption: TypeAlias = "CacheProvider | type[CacheProvider] | Literal['memory']"


class Address(NamedTuple):
    """Where an entry is: the namespace of its cache, and the text of its key."""

    namespace: str
    key: str


class Lease:
    """
    The right to store the value of one address.

    *tags* are those that are known before the computation; more may come with the entry.
    *alive* answers whether the holder still exists: a holder whose event loop was closed does
    not, and its lease counts as ended.
    """

    __slots__ = ("address", "alive", "epoch", "holder", "tags", "token")

    def __init__(
        self, address: Address, tags: frozenset[str], alive: Callable[[], bool], token: object
    ) -> None:
        self.address = address
        self.tags = tags
        self.alive = alive
        self.token = token
        """The provider's own."""
        self.epoch = 0
        """Tag invalidations that had happened when the lease was handed out."""
        self.holder: Callable[[], object] | None = None
        """A weak reference to what computes under it; who waits for the lease waits for that."""


class Found:
    """The answer of `acquire` when somebody else has stored a fresh entry meanwhile."""

    __slots__ = ("entry",)

    def __init__(self, entry: Entry) -> None:
        self.entry = entry


class Busy:
    """The answer of `acquire` when somebody else holds the lease."""

    __slots__ = ("lease", "mark")

    def __init__(self, lease: Lease | None = None, mark: Hashable = None) -> None:
        self.lease = lease
        """That lease, where its holder is known to be in this process."""
        self.mark = lease if mark is None else mark
        """The same for as long as it is the same lease; None where nobody knows."""


class Refused(ProviderUnavailable):
    """
    The provider is there, and did not do this one thing: nothing has changed.

    It says nothing about what is asked next, as when there is no room for what is written.
    """


class Hits(Protocol):
    """A short way to the entries of one namespace."""

    async def glance(self, key: str) -> bytes | Entry | None:
        """As `CacheProvider.glance`."""
        ...


class CacheProvider:
    """
    Keeps entries. Subclass it to keep them elsewhere; ask the app for it to replace it.

    All operations are coroutines. Those of the object that `blocking` names never suspend:
    they block instead, so that the same path serves sync callers.

    What cannot be done raises `ProviderUnavailable`; the outcome of a change that raised is
    unknown. Values of an entry are objects, or bytes where `serialized` says so.
    """

    serialized: bool = True
    """Entries hold bytes made by the codec of their cache, not objects."""
    strict: bool = False
    """A computed value that cannot be serialized is an error, not only left out."""
    shared: bool = True
    """Other processes see the same entries."""
    clears_all: bool = False
    """It has `clear_all`; others are owed each invalidation of tags, however many they are."""
    lease_seconds: float = 10.0
    """How long the lease of a holder that died stands in the way of others."""
    most_entries: int | None = None
    """How many it keeps, where it chooses itself which ones leave; None: it does not say."""
    deadline: float | None = None
    """Seconds after which a silent operation counts as failed; None: it never hangs."""

    @property
    def identity(self) -> Hashable:
        """What it keeps entries in: one with an equal identity has the same entries."""
        return id(self)

    @property
    def blocking(self) -> CacheProvider:
        """The same provider with operations that never suspend."""
        raise NotImplementedError(_missing(self, "blocking"))

    # Lifecycle

    async def start(self, clock: Clock) -> None:
        """
        Get ready. Called by each app that uses the provider.

        It must not suspend, so that sync apps can start, too: connect at first use. A server
        that is missing is no error here.
        """

    async def stop(self) -> None:
        """Let go of what `start` took. Called as often as `start`; it may be started again."""

    # Reading and computing

    async def look(self, address: Address) -> Entry | None:
        """Return the entry if it is there, its tags hold, and its last window is not over."""
        raise NotImplementedError(_missing(self, "look"))

    async def glance(self, address: Address) -> bytes | Entry | None:
        """
        Return what `look` would; of an entry that is simply fresh its bytes are enough.

        That is in its first window, and not to be refreshed yet. Asked where `serialized`.
        """
        return await self.look(address)

    def hits(self, namespace: str, *, lone: bool) -> Hits | None:
        """
        Return a shorter way to `glance` in one namespace, on a loop; None where there is none.

        *lone* says that entries have one window there, as a rule.
        """
        del namespace, lone
        return None

    async def acquire(
        self,
        address: Address,
        *,
        seen: Entry | None = None,
        take: bool = False,
        tags: frozenset[str] = frozenset(),
        alive: Callable[[], bool] = lambda: True,
    ) -> Found | Busy | Lease:
        """
        Ask for the right to compute.

        `Found` when there is a fresh entry that is not *seen* (the one that the caller wants
        to replace); never with *take*. `Busy` when somebody holds the lease.
        """
        raise NotImplementedError(_missing(self, "acquire"))

    async def store(self, lease: Lease, entry: Entry) -> bool:
        """
        Write *entry* if the lease still holds and none of `entry.tags` was dropped since it
        was handed out. The lease ends in any case. Answers whether it was written.
        """
        raise NotImplementedError(_missing(self, "store"))

    async def settle(self, lease: Lease, tags: frozenset[str]) -> bool:
        """End the lease without a value; answer whether a `store` would have been written."""
        raise NotImplementedError(_missing(self, "settle"))

    async def release(self, lease: Lease) -> None:
        """Give the lease back: there is no value."""
        raise NotImplementedError(_missing(self, "release"))

    async def wait(self, address: Address, seconds: float) -> bool | None:
        """
        Return when the lease at *address* may have ended, after *seconds* at the latest.

        True when it is known that its holder, or one after it, has ended without a value.
        """
        raise NotImplementedError(_missing(self, "wait"))

    # Changing by hand; each ends the leases that it concerns

    async def put(self, entries: Sequence[tuple[Address, Entry]]) -> None:
        """Write entries over whatever is there."""
        raise NotImplementedError(_missing(self, "put"))

    async def delete(self, addresses: Sequence[Address]) -> int:
        """Drop exact addresses; answer how many usable entries there were."""
        raise NotImplementedError(_missing(self, "delete"))

    async def drop(self, addresses: Sequence[Address]) -> None:
        """Do what `delete` does, for whoever does not ask how many there were."""
        await self.delete(addresses)

    async def expire(self, address: Address) -> None:
        """Make the entry stale from now on, and what is being computed unwelcome."""
        raise NotImplementedError(_missing(self, "expire"))

    async def invalidate_matching(self, namespace: str, pattern: str, prefix: str = "") -> None:
        """Drop the keys that start with *prefix* and match *pattern* (`*` is any text)."""
        raise NotImplementedError(_missing(self, "invalidate_matching"))

    async def invalidate_tags(self, scope: Scope, tags: Iterable[str]) -> None:
        """Drop what holds one of *tags*, in one namespace or (None) in all of them."""
        raise NotImplementedError(_missing(self, "invalidate_tags"))

    async def clear(self, namespace: str) -> None:
        """Drop everything of a namespace."""
        raise NotImplementedError(_missing(self, "clear"))

    async def clear_all(self) -> None:
        """Drop everything of every namespace: more is owed than can be remembered."""
        raise NotImplementedError(_missing(self, "clear_all"))

    async def incr(self, address: Address, amount: int, windows: Windows) -> int:
        """
        Add to a counter and answer the sum. *windows* count from the first addition.

        Where `serialized`, a counter is an entry whose bytes are the decimal digits.

        Raises:
            TypeError: What is there is not a whole number.
        """
        raise NotImplementedError(_missing(self, "incr"))

    # Looking around

    async def look_many(self, addresses: Sequence[Address]) -> list[Entry | None]:
        """Return what `look` would, for each address, in their order."""
        return [await self.look(address) for address in addresses]

    async def keys(self, namespace: str, pattern: str = "*") -> list[str]:
        """Return the keys of usable entries that match *pattern*, in no order."""
        raise NotImplementedError(_missing(self, "keys"))

    def count(self, namespace: str, prefix: str = "") -> int:
        """Return how many entries under *prefix* in *namespace* this process holds."""
        del namespace, prefix
        return 0

    def add_evict_listener(self, callback: Callable[[Address], object]) -> Callable[[], None]:
        """Tell *callback* what left for want of room; what is returned ends it."""
        del callback
        return lambda: None


def _missing(provider: CacheProvider, operation: str) -> str:
    return f"{type(provider).__qualname__} does not implement {operation!r}"


def a_provider(found: object) -> CacheProvider:
    """
    Return *found*, what an app got where it asked for its `CacheProvider`.

    Raises:
        InvalidOption: It is none.
    """
    if not isinstance(found, CacheProvider):
        msg = (
            f"provide(CacheProvider, ...) gave {found!r}: expected a CacheProvider. Write "
            "app.provide(CacheProvider, RedisCacheProvider), or give an instance."
        )
        raise InvalidOption(msg)
    return found


def checked_provider(option: object) -> ProviderOption | None:
    """
    Return the option `provider=`.

    Raises:
        InvalidOption: It is no provider.
    """
    if option is None or isinstance(option, CacheProvider):
        return option
    if option == "memory":
        return "memory"
    if isinstance(option, type) and issubclass(option, CacheProvider):
        return option
    msg = f"provider={option!r}: expected a CacheProvider, its class, or 'memory'."
    raise InvalidOption(msg)
