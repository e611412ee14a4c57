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
from asyncio import get_running_loop
from contextlib import suppress
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .errors import RecursiveComputation
from .forks import free_in_child

if TYPE_CHECKING:
    import asyncio
    import weakref
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from .entry import Entry
    from .providers.base import Lease

Waiter: TypeAlias = "asyncio.Future[None] | Callable[[], object]"

MOST_ASKED: Final = 3
NEVER: Final = 0
ALWAYS: Final = 1 << 62


tick: Final[Callable[[], int]] = itertools.count(1).__next__
"""Return the next moment. Later calls, in any thread, return larger numbers."""


NOTHING: Final = object()
"""No answer. Nobody else has it, where a function may return whatever is public."""


class Outcome:
    """What a flight ended with: a value, an error, or neither when it was cancelled."""

    __slots__ = ("asof", "began", "context", "entry", "error", "leased", "traceback", "value")

    def __init__(  # noqa: PLR0917  # names cost half as much again
        self,
        value: object = NOTHING,
        error: BaseException | None = None,
        began: int = NEVER,
        asof: int = NEVER,
        entry: Entry | None = None,
        leased: bool = True,  # noqa: FBT001, FBT002  # names cost half as much again
    ) -> None:
        self.value = value
        self.error = error
        self.traceback: TracebackType | None = None
        self.context: BaseException | None = None
        if error is not None:
            self.traceback, self.context = error.__traceback__, error.__context__
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
        return self.error is None and self.value is NOTHING


_NOBODY: Final[dict[Any, None]] = {}  # shared, and never written to
_ending: Final = free_in_child()


class Flight:
    """One computation, from the decision to make it to its outcome."""

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "answered",
        "asked",
        "began",
        "blocks_loop",
        "deadline",
        "key",
        "late_tags",
        "lease",
        "listed",
        "loop",
        "namespace",
        "outcome",
        "shaken",
        "tags",
        "tags_open",
        "task",
        "time_out",
        "unbegun",
        "waits_for",
        "wanted",
    )

    def __init__(
        self,
        key: str,
        loop: asyncio.AbstractEventLoop | None,
        namespace: str = "",
        tags: frozenset[str] = frozenset(),
        tags_open: bool = False,  # noqa: FBT001, FBT002  # names cost half as much again
    ) -> None:
        self.key = key
        self.namespace = namespace
        self.loop = loop
        """The loop on which it runs, or None for a thread."""
        self.tags = tags
        self.tags_open = tags_open
        """More tags may come from the result; nobody knows which yet."""
        self.late_tags: set[str] | None = None
        """Tags that the function has added to its own result so far, once it has been called."""
        self.lease: Lease | None = None
        """The right to store the result, once there is one."""
        self.listed = True
        """It was not taken out of the registry yet."""
        self.began = NEVER
        self.shaken = False
        """Something was changed before it began: the lease that it asks for may have ended."""
        self.asked = 0
        self.deadline = inf
        self.outcome: Outcome | None = None
        self.task: asyncio.Task[None] | None = None
        """What flies it, where that can be cancelled."""
        self.unbegun: Callable[[object], object] | None = None
        """Watches over its task, which may be cancelled before its first step."""
        self.time_out: Callable[[], object] | None = None
        """Ends it because its deadline has passed; whoever watches the time calls it."""
        self.waits_for: tuple[Flight, ...] = ()
        self.wanted = False
        """Another computation has waited for it."""
        self.answered = False
        """The provider had answered, also where there is no lease."""
        self.blocks_loop = False
        """A caller stands on the thread of some loop, and blocks it."""
        self._callbacks: dict[Waiter, None] = _NOBODY

    @property
    def title(self) -> str:
        """How messages call it: as a call of its function."""
        return f"{self.namespace}({self.key})"

    def begin(self, deadline: float) -> int:
        """Note that the function is called now; whoever waits learns the *deadline*."""
        self.began = tick()
        if deadline < inf:
            self.deadline = deadline
            with _ending:
                waiters, self._callbacks = self._callbacks, _NOBODY
            self._wake(waiters)
        return self.began

    def cancel(self) -> None:
        """Cancel the computation, from any thread, where that can be done."""
        task = self.task  # read once: its own thread may let go of it
        if task is not None:
            with suppress(RuntimeError):  # the loop is closed: nothing runs any more
                task.get_loop().call_soon_threadsafe(task.cancel)

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
        with _ending:
            if self.outcome is not None:
                return False
            self.outcome = outcome
            waiters, self._callbacks = self._callbacks, _NOBODY
        if waiters:
            self._wake(waiters)
        return True

    def subscribe(self, waiter: Waiter) -> bool:
        """
        Call *waiter* once when something changes, from whatever thread changes it.

        A future of the loop of the flight gets its result there, in the thread of that loop.
        Answers False, without keeping it, when the flight is over.
        """
        with _ending:
            if self.outcome is not None:
                return False
            if self._callbacks:
                self._callbacks[waiter] = None
            else:
                self._callbacks = {waiter: None}
            return True

    def unsubscribe(self, waiter: Waiter) -> None:
        """Forget *waiter*, if it was not called yet."""
        with _ending:
            if waiter in self._callbacks:
                del self._callbacks[waiter]

    def _wake(self, waiters: dict[Waiter, None]) -> None:
        loop = self.loop
        try:
            here = get_running_loop() is loop
        except RuntimeError:
            here = False
        for waiter in waiters:
            if callable(waiter):
                waiter()
            elif here:
                if not waiter.done():
                    waiter.set_result(None)
            elif loop is not None:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(resolve, waiter)

    @property
    def over(self) -> bool:
        """There is an outcome, or there will never be one: its loop is closed."""
        return self.outcome is not None or (self.loop is not None and self.loop.is_closed())

    def is_alive(self) -> bool:
        """Tell whether there will be an outcome still."""
        return self.outcome is None and (self.loop is None or not self.loop.is_closed())


def resolve(woken: asyncio.Future[None]) -> None:
    """Wake who waits with *woken*, on the thread of its loop."""
    if not woken.done():
        woken.set_result(None)


class Flights:
    """The flights of one namespace that a caller may join, by key."""

    __slots__ = ("_by_key", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_key: dict[str, Flight] = {}

    def join(self, key: str, make: Callable[..., Flight], *made_of: object) -> tuple[Flight, bool]:
        """Return the flight for *key*, and whether the caller has to lead it."""
        made: Flight | None = None
        try:
            with self._lock:
                flight = self._by_key.get(key)
                if flight is not None and not flight.over:
                    return flight, False
                made = self._by_key[key] = make(*made_of)
                return made, True
        except BaseException:  # a signal handler raises: nobody would lead it
            if made is not None:
                self.leave(made)
                made.finish(Outcome())
            raise

    def get(self, key: str) -> Flight | None:
        """Return the flight for *key* that may still be joined."""
        flight = self._by_key.get(key)
        return None if flight is None or flight.over else flight

    def leave(self, flight: Flight) -> None:
        """Take *flight* out: nobody joins it from now on."""
        with self._lock:
            if self._by_key.get(flight.key) is flight:
                del self._by_key[flight.key]
        flight.listed = False  # after it: an interrupt in between leaves nothing behind

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
inside: Final[ContextVar[weakref.ref[Flight] | None]] = ContextVar(
    "stillfresh_flight", default=None
)


def flight_here() -> Flight | None:
    """Return the flight in whose function this code runs."""
    found = inside.get()
    return None if found is None else found()


_waiting: Final = free_in_child()


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
            waiter.waits_for += (flight,)
            flight.wanted = True

    def __exit__(self, *_: object) -> None:
        if self._waiter is not None and self._flight is not None:
            with _waiting:
                waits_for = list(self._waiter.waits_for)
                if self._flight in waits_for:
                    waits_for.remove(self._flight)
                    self._waiter.waits_for = tuple(waits_for)


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
        todo.extend(one.waits_for)
