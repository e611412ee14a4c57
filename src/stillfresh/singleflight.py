"""
One computes, the others wait: flights.

A flight is one run of one function for one key, in this process. Whoever comes while it is in
the registry joins it. It lives on no event loop: waiters are callbacks, so that a coroutine, a
coroutine of another loop and a blocked thread can all wait for the same flight.

May a caller who joined have the result? Not always, or an invalidation could lose:

    1. caller A starts flight 1; the function reads the source
    2. the source changes; invalidate() returns
    3. caller B comes. It must not get what was read in step 1.

So an invalidation takes flights out of the registry, and every result carries `asof`: the last
moment at which it is known to have been right. A caller who came before that moment may have
it; another one goes round again. Moments are ticks of one counter, not times.

A flight leaves the registry before the command that decides about its store is sent. So every
caller who joined has come before that command, and an accepted store is right for all of them.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Final

from .entry import MISSING
from .errors import RecursiveComputation

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from .entry import Entry
    from .providers.base import Lease

_counter = itertools.count(1)

MOST_ASKED: Final = 3
NEVER: Final = 0
ALWAYS: Final = 1 << 62


def tick() -> int:
    """Return the next moment. Later calls, in any thread, return larger numbers."""
    return next(_counter)


class Outcome:
    """What a flight ended with: a value, an error, or neither when it was cancelled."""

    __slots__ = ("asof", "began", "context", "entry", "error", "leased", "traceback", "value")

    def __init__(
        self,
        *,
        value: object = MISSING,
        error: BaseException | None = None,
        began: int = NEVER,
        asof: int = NEVER,
        entry: Entry | None = None,
        leased: bool = True,
    ) -> None:
        self.value = value
        self.error = error
        self.traceback: TracebackType | None = error.__traceback__ if error else None
        self.context = error.__context__ if error else None
        self.began = began
        """When the function was called."""
        self.asof = asof
        """Who came before this moment may have the value."""
        self.entry = entry
        """What was stored, or found."""
        self.leased = leased
        """The provider had allowed the computation; False when it did not answer."""

    @property
    def cancelled(self) -> bool:
        """Somebody outside cancelled the computation: there is no answer."""
        return self.error is None and self.value is MISSING


class Flight:
    """One computation, from the decision to make it to its outcome."""

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_lock",
        "abort",
        "answered",
        "asked",
        "began",
        "blocks_loop",
        "deadline",
        "key",
        "late_tags",
        "lease",
        "loop",
        "namespace",
        "outcome",
        "shaken",
        "tags",
        "tags_open",
        "time_out",
        "unbegun",
        "waits_for",
        "wanted",
    )

    def __init__(
        self,
        key: str,
        *,
        loop: asyncio.AbstractEventLoop | None,
        namespace: str = "",
        tags: frozenset[str] = frozenset(),
        tags_open: bool = False,
    ) -> None:
        self.key = key
        self.namespace = namespace
        self.loop = loop
        """The loop on which it runs, or None for a thread."""
        self.tags = tags
        self.tags_open = tags_open
        """More tags may come from the result; nobody knows which yet."""
        self.late_tags: set[str] = set()
        """Tags that the function has added to its own result so far."""
        self.lease: Lease | None = None
        """The right to store the result, once there is one."""
        self.began = NEVER
        self.shaken = False
        """Something was changed before it began: the lease that it asks for may have ended."""
        self.asked = 0
        self.deadline = inf
        self.outcome: Outcome | None = None
        self.abort: Callable[[], object] | None = None
        """Cancels the computation, from any thread; None where that cannot be done."""
        self.unbegun: Callable[[], object] | None = None
        """Ends the watch over a task that may be cancelled before its first step."""
        self.time_out: Callable[[], object] | None = None
        """Ends it because its deadline has passed; whoever watches the time calls it."""
        self.waits_for: list[Flight] = []
        self.wanted = False
        """Another computation has waited for it."""
        self.answered = False
        """The provider had answered, also where there is no lease."""
        self.blocks_loop = False
        """A caller stands on the thread of some loop, and blocks it."""
        self._lock = threading.RLock()
        self._callbacks: dict[Callable[[], object], None] = {}

    @property
    def title(self) -> str:
        """How messages call it: as a call of its function."""
        return f"{self.namespace}({self.key})"

    def begin(self, deadline: float) -> int:
        """Note that the function is called now; whoever waits learns the *deadline*."""
        self.began = tick()
        if deadline < inf:
            self.deadline = deadline
            self._wake()
        return self.began

    def take_off(self) -> None:
        """Note that its task has begun: from here on that sees to the end of it by itself."""
        unbegun, self.unbegun = self.unbegun, None
        if unbegun is not None:
            unbegun()

    def cancel(self) -> None:
        """Cancel the computation, from any thread, where that can be done."""
        abort = self.abort  # read once: its own thread may let go of it
        if abort is not None:
            abort()

    def let_go(self) -> None:
        """Drop what leads back here, once it is over: a circle would wait for the collector."""
        self.abort = self.unbegun = self.lease = None

    def must_ask_again(self) -> bool:
        """
        Tell whether a change may have ended the lease that was granted.

        Where changes never pause, one without a lease that holds is computed all the same.
        """
        shaken, self.shaken = self.shaken, False
        self.asked += shaken
        return shaken and self.asked <= MOST_ASKED

    def finish(self, outcome: Outcome) -> bool:
        """End it; answer False when something else has ended it before."""
        with self._lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
        self._wake()
        return True

    def subscribe(self, callback: Callable[[], object]) -> bool:
        """
        Call *callback* once when something changes, from whatever thread changes it.

        Answers False, without keeping it, when the flight is over.
        """
        with self._lock:
            if self.outcome is not None:
                return False
            self._callbacks[callback] = None
            return True

    def unsubscribe(self, callback: Callable[[], object]) -> None:
        """Forget *callback*, if it was not called yet."""
        with self._lock:
            self._callbacks.pop(callback, None)

    def _wake(self) -> None:
        with self._lock:
            callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks:
            callback()

    @property
    def over(self) -> bool:
        """There is an outcome, or there will never be one: its loop is closed."""
        return self.outcome is not None or (self.loop is not None and self.loop.is_closed())


class Flights:
    """The flights of one namespace that a caller may join, by key."""

    __slots__ = ("_by_key", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_key: dict[str, Flight] = {}

    def join(self, key: str, make: Callable[[], Flight]) -> tuple[Flight, bool]:
        """Return the flight for *key*, and whether the caller has to lead it."""
        with self._lock:
            flight = self._by_key.get(key)
            if flight is not None and not flight.over:
                return flight, False
            flight = self._by_key[key] = make()
            return flight, True

    def get(self, key: str) -> Flight | None:
        """Return the flight for *key* that may still be joined."""
        flight = self._by_key.get(key)
        return None if flight is None or flight.over else flight

    def leave(self, flight: Flight) -> None:
        """Take *flight* out: nobody joins it from now on."""
        with self._lock:
            if self._by_key.get(flight.key) is flight:
                del self._by_key[flight.key]

    def drop(self, concerned: Callable[[Flight], bool]) -> list[Flight]:
        """
        Take out every flight that *concerned* picks, and return them; they run on, unjoined.

        One whose function was not called yet stays, shaken: it will see what has changed, and a
        second one beside it would compute the same.
        """
        with self._lock:
            picked = [flight for flight in self._by_key.values() if concerned(flight)]
            dropped: list[Flight] = []
            for flight in picked:
                if flight.began == NEVER:
                    flight.shaken = True
                    continue
                del self._by_key[flight.key]
                dropped.append(flight)
            return dropped

    def __len__(self) -> int:
        return len(self._by_key)


# Who waits for whom. A flight waits for another one when its function calls a cached function.
# Before a caller waits, it looks whether that would close a circle.

# A reference that keeps nothing alive: a task that a function has started inherits the context,
# and would keep the result for as long as it runs.
_current: ContextVar[weakref.ref[Flight] | None] = ContextVar("stillfresh_flight", default=None)


def enter(flight: Flight) -> Callable[[], None]:
    """Note that the code of this context runs in the function of *flight*; returns the way out."""
    token = _current.set(weakref.ref(flight))
    return lambda: _current.reset(token)


def flight_here() -> Flight | None:
    """Return the flight in whose function this code runs."""
    found = _current.get()
    return None if found is None else found()


_waiting = threading.RLock()  # garbage may be collected anywhere, and call back


def forget_waiters() -> None:
    """Get ready for the child of a fork: who held the lock does not exist."""
    global _waiting  # noqa: PLW0603  # one for the process, whoever forks
    _waiting = threading.RLock()


class waiting_for:  # noqa: N801  # reads as a phrase: with waiting_for(flight)
    """
    Note that the running computation waits for *flight*, for the time of a `with` block.

    None is a flight that nobody knows.

    Raises:
        RecursiveComputation: On entry: *flight* waits, directly or through others, for the
            one who wants to wait for it. Nobody would ever answer.
    """

    __slots__ = ("_flight", "_waiter")

    def __init__(self, flight: Flight | None) -> None:
        self._flight = flight
        self._waiter = None if flight is None else flight_here()

    def __enter__(self) -> None:
        waiter, flight = self._waiter, self._flight
        if flight is None or waiter is None or waiter.over:
            return
        with _waiting:
            if any(found is waiter for found in reached_from(flight)):
                msg = (
                    f"{flight.title} waits for itself, through {waiter.title}. A cached "
                    "function must not need its own result: call the undecorated function "
                    "(`f.__wrapped__`), or split off what both need."
                )
                raise RecursiveComputation(msg)
            waiter.waits_for.append(flight)
            flight.wanted = True

    def __exit__(self, *_: object) -> None:
        if self._waiter is not None and self._flight is not None:
            with _waiting:
                if self._flight in self._waiter.waits_for:
                    self._waiter.waits_for.remove(self._flight)


def reached_from(flight: Flight) -> Iterator[Flight]:
    """Return *flight* and what it waits for, directly or through others."""
    seen: set[int] = set()
    todo = [flight]
    while todo:
        one = todo.pop()
        if id(one) in seen or one.over:
            continue
        seen.add(id(one))
        yield one
        todo.extend(tuple(one.waits_for))
