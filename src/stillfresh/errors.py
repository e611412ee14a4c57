"""
Every error that stillfresh raises.

    StillfreshError
    ├── InvalidDuration        a ttl or another length of time that cannot be read
    ├── InvalidOption          an option that is unknown, impossible, or contradicts another
    ├── UnstableArgument       an argument that has no stable place in a key
    ├── NotSerializable        a value or a type that would not come back as it was
    ├── RecursiveComputation   a function that waits for its own result
    ├── ComputeTimeout         a computation that took longer than its `timeout`
    ├── ComputeCancelled       a computation that was cancelled from outside, twice
    ├── ProviderUnavailable    the store did not answer, or answered garbage
    ├── CannotBuild            a service that the app cannot construct by itself
    ├── AlreadyResolved        a provide() that comes after the service was used
    ├── AlreadyRunning         a second start of an app that runs
    ├── AmbiguousApp           several apps run and nothing says which one is meant
    └── NotRunning             a change to a cache whose app does not run

A message names the value, what was expected, and the next step. Where there is
a value to look at, the error keeps it as an attribute.
"""

from __future__ import annotations


class StillfreshError(Exception):
    """The root of all errors of this library."""


class InvalidDuration(StillfreshError, ValueError):
    """A length of time that cannot be read; `.value` is what was given."""

    def __init__(self, message: str, value: object = None) -> None:
        super().__init__(message)
        self.value = value


class InvalidOption(StillfreshError, ValueError):
    """An option that is unknown, impossible, or contradicts another one."""


class UnstableArgument(StillfreshError, TypeError):
    """An argument that has no stable place in a key; `.value` is the argument."""

    def __init__(self, message: str, value: object = None) -> None:
        super().__init__(message)
        self.value = value


class NotSerializable(StillfreshError, TypeError):
    """
    A value, or a whole type, that would not come back as it was stored.

    `.path` says where in the value: `return.items[3].price`, or "" for all of it. It begins with
    `return` also for what was written by hand.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class RecursiveComputation(StillfreshError, RuntimeError):
    """A cached function that waits for its own result, directly or through others."""


class ComputeTimeout(StillfreshError, TimeoutError):
    """A computation that took longer than its `timeout`; its key is free, a sync one runs on."""


class ComputeCancelled(StillfreshError, RuntimeError):
    """A computation that somebody cancelled from outside, and once more on the second try."""


class ProviderUnavailable(StillfreshError):
    """The provider did not answer, or nothing is known about what it now holds."""


class CannotBuild(StillfreshError, TypeError):
    """A service that the app cannot construct without arguments, or only in a circle."""


class AlreadyResolved(StillfreshError, RuntimeError):
    """A `provide` that comes too late: somebody already holds the service."""


class AlreadyRunning(StillfreshError, RuntimeError):
    """A second start of an app that was not stopped."""


class AmbiguousApp(StillfreshError, RuntimeError):
    """Several apps are running, and nothing says which of them is meant."""


class NotRunning(StillfreshError, RuntimeError):
    """A change to a cache whose app does not run; it would have been lost in silence."""
