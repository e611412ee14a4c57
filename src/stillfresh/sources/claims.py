"""What owns entries, a *source*: a decorated function or a `Cache`; and its claim to a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakSet

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..codecs import Codec
    from ..options import Policy


class Source(Protocol):
    """What owns entries."""

    @property
    def identity(self) -> tuple[str, str]:
        """Module and qualified name, for people."""
        ...

    def goes_with(self, other: Source) -> bool:
        """Tell whether both may have the same name: one is the other, written again."""
        ...

    @property
    def policy(self) -> Policy:
        """Its options."""
        ...

    @property
    def computes(self) -> bool:
        """Its values come from its code: what other code has computed is not its value."""
        ...

    @property
    def lasting(self) -> bool:
        """Its values are data, which no function could compute again."""
        ...

    def codec(self) -> Callable[[], Codec]:
        """Return what makes its codec; must not hold the source."""
        ...


class Claim(NamedTuple):
    """A name that a source wants for its entries."""

    name: str
    namespace: str
    holder: object
    """Whose entries they are: the source's, or those of a concrete class that inherited it."""
    prefix: str = ""
    """What all keys begin with."""
    own_space: bool = True
    """The namespace is nobody else's; False under a `Cache`."""
    local: bool = False
    """The entries stay in this process, whatever the provider is."""


def name_taken(name: str, holder: Source, source: Source) -> InvalidOption:
    """Return the error of two sources that want one name."""
    shown = name.replace("\n", " ")
    msg = (
        f"the name {shown!r} belongs to {'.'.join(holder.identity)}, and "
        f"{'.'.join(source.identity)} wants it too: each would be served the other's values. "
        "Give one of them another name=, or declare one Cache and decorate both with it."
    )
    return InvalidOption(msg)


elsewhere: WeakSet[Source] = WeakSet()
"""
What modules declare with a shared `provider=` of its own, and belongs to no service.

Another process may have stored something there, also where this one has never called it.
"""


def note_elsewhere(source: Source) -> None:
    """Let every app that drops tags reach the provider of *source*, if it has one of its own."""
    option = source.policy.provider
    if option is not None and not isinstance(option, str) and option.shared:
        elsewhere.add(source)
