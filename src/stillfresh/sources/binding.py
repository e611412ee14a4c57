"""What an app does with the caches of its services: it binds them, and checks their names."""

from __future__ import annotations

import gc
from functools import wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from ..app import App, extensions, registry
from ..errors import InvalidOption
from ..names import attributes_of
from .cached import Cache, Cached, SyncCached, cache_of, cache_over
from .claims import name_taken
from .definition import Definition, named_functions
from .instances import BINDING, is_binding
from .ledger import LedgerExtension, ledger_of
from .operations import DefinitionHome
from .root import Root
from .shortcuts import disconnect_all
from .site import UNBOUND
from .wrapping import generated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..services.listed import Listed


def cached_attributes(kind: type) -> Iterator[tuple[str, Any]]:
    """Return the names under which a class has something cached, as the MRO resolves them."""
    for name, written in attributes_of(kind).items():
        static = isinstance(written, staticmethod)
        found = written.__func__ if isinstance(written, classmethod | staticmethod) else written
        if type(found) is FunctionType:
            found = found.__dict__.get(BINDING)
        if static and isinstance(found, Cached | SyncCached) and found.definition.guessed:
            found.definition.set_kind("function")
        if isinstance(found, Cached | SyncCached | Cache):
            yield name, found


class CachingExtension(LedgerExtension):
    """Binds the cached methods of the services that an app owns, and checks their names."""

    def adopt(self, app: App, instance: object) -> None:
        owner = registry.owner_of(instance)
        taken = owner is not None and owner is not app and owner.running
        if taken and any(cached_attributes(type(instance))):
            msg = (
                f"{type(instance).__qualname__}: this instance belongs to {owner!r}, which runs, "
                f"and so do its caches. Give {app!r} an instance of its own."
            )
            raise InvalidOption(msg)
        own = getattr(instance, "__dict__", None)
        if own is None:
            return
        if any(is_binding(value, instance) for value in own.values()):
            disconnect_all()  # it was another app's, whose entries its short cuts know
        bound = False
        for name, found in cached_attributes(type(instance)):
            if isinstance(found, Cache) or name in own or found.kind != "method":
                continue
            own[name] = generated(found.definition, instance)
            bound = True
        if bound:
            _hide_bindings(type(instance))

    def check(self, app: App) -> None:
        holders: dict[str, Any] = {}
        ledger = ledger_of(app)

        def claim(source: Any) -> None:
            ledger.start_provider(source.policy.provider)
            name = source.explicit_name
            if name is None:
                return
            holder = holders.setdefault(name, source)
            if holder.identity != source.identity:
                raise name_taken(name, holder, source)

        modules: set[str] = set()
        for instance in app.services():
            modules.add(type(instance).__module__)
            for _, found in cached_attributes(type(instance)):
                claim(found.root if isinstance(found, Cache) else found.definition)
        for definition in _of_modules(modules):
            if definition.explicit_name in holders:
                claim(definition)

    def caches(self, app: App) -> list[Listed]:
        found: dict[str, Cache[Any]] = {}

        def add(source: Root | Definition, instance: object = UNBOUND) -> None:
            # Those of all functions under one store are the store's.
            root = source if isinstance(source, Root) else source.root
            if root is not None:
                one = cache_of(root, app)
            else:
                one = cache_over(DefinitionHome(cast("Definition", source), instance, app))
            found.setdefault(one.name, one)

        for instance in app.services():
            for _, attribute in cached_attributes(type(instance)):
                if isinstance(attribute, Cache):
                    add(attribute.root)
                    continue
                # Not getattr: a fake may stand in its place.
                bound: Any = attribute.__get__(instance, type(instance))
                add(bound.definition, bound.instance)
        for source in ledger_of(app).sources():
            if isinstance(source, Root) or (
                isinstance(source, Definition) and (source.root or source.kind == "function")
            ):
                add(source)
        return list(found.values())


def _of_modules(modules: set[str]) -> list[Definition]:
    found = [one for one in named_functions if one.function.__module__ in modules]
    if found:
        del found
        gc.collect()  # a name is free again when its function is gone
    return [one for one in named_functions if one.function.__module__ in modules]


def _hide_bindings(kind: type) -> None:
    """Keep the bindings out of copies and pickles: they belong to one instance."""
    if "__stillfresh_bindings_hidden__" in vars(kind):
        return
    original: Any = kind.__getstate__
    plain = original is object.__getstate__

    def __getstate__(self: object) -> object:  # noqa: N807  # it replaces the method
        kept = _without_bindings(original(self), self)
        return None if kept == {} and plain else kept  # as it says of who has no attributes

    changed = cast("Any", kind)
    changed.__getstate__ = __getstate__
    for name in ("__copy__", "__deepcopy__"):  # of their own: they may take the whole __dict__
        if hasattr(kind, name):
            setattr(kind, name, _copying_no_binding(getattr(kind, name)))
    changed.__stillfresh_bindings_hidden__ = True


def _copying_no_binding(original: Any) -> Any:
    @wraps(original)
    def copied(self: object, *args: object) -> object:
        twin = original(self, *args)
        own = getattr(twin, "__dict__", None)
        if twin is not self and own is not None:
            for name in [name for name, value in own.items() if is_binding(value, self)]:
                del own[name]
        return twin

    return copied


def _without_bindings(state: Any, instance: object) -> Any:
    if isinstance(state, tuple) and len(state) == 2:
        return (_without_bindings(state[0], instance), state[1])
    if not isinstance(state, dict):
        return state
    kept = {name: value for name, value in state.items() if not is_binding(value, instance)}
    return state if len(kept) == len(state) else kept


extensions.insert(0, CachingExtension())  # what others keep of its readers they let go of after it
