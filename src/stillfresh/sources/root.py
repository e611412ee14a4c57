"""What a declared `Cache` is: the functions under it share its name and its options."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from ..codecs import UNKNOWN, return_annotation
from ..entry import MISSING
from ..errors import InvalidOption
from ..options import Policy
from .claims import Claim
from .ledger import ledger_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import App
    from ..codecs import Codec
    from ..readthrough import Reader


class Root:
    """One declared `Cache`: its name, its options, and the type of its values."""

    decorate: ClassVar[Callable[[Any, dict[str, Any], Root], Any]]
    """Decorates a function with options, under a root; set from above."""

    def __init__(self, name: str | None, given: dict[str, Any], module: str) -> None:
        self.explicit_name = name
        self.given = given
        """The options as they were written; functions under it start from them."""
        self.policy = Policy.read(**given)
        self.module = module
        self.attribute = ""
        self.annotation: object = UNKNOWN
        self.has_functions = False

    @property
    def name(self) -> str:
        """
        The namespace.

        Raises:
            InvalidOption: It has none: no `name=`, and it is no attribute of a class.
        """
        if self.explicit_name is not None:
            return self.explicit_name
        if not self.attribute:
            msg = (
                f"a Cache in {self.module} has no name. Write Cache(name=...), "
                "or make it an attribute of a class."
            )
            raise InvalidOption(msg)
        return f"{self.module}.{self.attribute}"

    @property
    def identity(self) -> tuple[str, str]:
        """Module and attribute, or name."""
        return (self.module, self.attribute or self.name)

    @property
    def computes(self) -> bool:
        """What is in a store was put there; who declares it again may have it."""
        return False

    @property
    def lasting(self) -> bool:
        """Without functions under it, nothing could compute again what is in it."""
        return not self.has_functions

    def goes_with(self, other: object) -> bool:
        """The same attribute of the same class, written again."""
        same = isinstance(other, Root) and other.identity == self.identity
        return same and bool(self.attribute)

    def codec(self) -> Callable[[], Codec]:
        """Return what makes the codec of the values."""
        annotation, module, policy = self.annotation, self.module, self.policy

        def make() -> Codec:
            if policy.returns is not MISSING:
                resolved = return_annotation(_Scope(module), policy.returns)
            elif annotation is UNKNOWN:
                resolved = UNKNOWN
            else:
                resolved = return_annotation(_Scope(module), annotation)
            from ..codecs import codec_for  # with the first codec, the compiler

            return codec_for(resolved, compress=policy.compress, serializer=policy.serializer)

        return make

    @property
    def own_claim(self) -> Claim:
        """The name that it wants."""
        return Claim(self.name, self.name, self)

    def reader(self, app: App) -> Reader:
        """Make the namespace this cache's, and return its reader."""
        return ledger_of(app).reader(self, self.own_claim)


class _Scope:
    """Where a forward reference in `Cache["User"]` is looked up."""

    def __init__(self, module: str) -> None:
        self.__module__ = module
        self.__globals__ = vars(sys.modules[module]) if module in sys.modules else {}
        self.__qualname__ = "Cache"
        self.__annotations__: dict[str, object] = {}
