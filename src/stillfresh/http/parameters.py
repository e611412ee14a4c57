"""
What FastAPI has found out about an endpoint: which arguments are in the key, and which cannot be.

    path, query, header     declared parameters: in the key by value; a header also in Vary
    a dependency's result   in the key by value, if it has a stable text; else it must not come
                            from the request at all, as a database session does not
    cookie, body, Request   nothing is known: the rules for cookies and bodies, and `taint`
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from .engine.routes import Parameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PERSONAL_FIELDS: Final = frozenset({b"cookie", b"authorization"})


class _Later:
    def __repr__(self) -> str:
        return "what the request says"


LATER: Final = _Later()
"""In the place of an argument that only a request knows."""


def is_generator(function: object) -> bool:
    """Tell whether FastAPI would stream what *function* yields."""
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def parameters_of(dependant: Any, title: str) -> Parameters:
    """Return the parameters of the endpoint behind *dependant*, which is FastAPI's."""
    models = [field for field in _declared(dependant) if _is_model(field)]
    headers = tuple(
        field.alias.lower().encode("latin-1")
        for field in dependant.header_params
        if field not in models
    )
    behind = dict.fromkeys(name for one in dependant.dependencies for name in _fields(one))
    fields = {field.name: field for field in _declared(dependant)}
    alone = not (
        models  # which fields of the request are in one is not looked at
        or dependant.dependencies
        or dependant.cookie_params
        or dependant.body_params
        or dependant.request_param_name
        or dependant.http_connection_param_name
        or dependant.security_scopes_param_name
    )

    told = frozenset(_told(dependant))

    def writes(one: Any) -> bool:
        into = one.response_param_name or one.background_tasks_param_name
        own = into and _may_know(one, told)
        return bool(own) or any(writes(inner) for inner in one.dependencies)

    def complete(arguments: Mapping[str, object]) -> dict[str, object]:
        unknown = arguments.keys() - fields.keys()
        if unknown:
            known = ", ".join(fields) or "none"
            msg = f"{title} has no argument {min(unknown)!r}. There are: {known}."
            raise TypeError(msg)
        return {name: _value(field, arguments, title) for name, field in fields.items()}

    return Parameters(
        tuple(fields),
        complete=complete,
        headers=headers,
        behind=tuple(behind),
        whole_query=not alone,
        pure=alone and _PERSONAL_FIELDS.isdisjoint(headers),
        results=tuple(
            (one.name, _may_know(one, told)) for one in dependant.dependencies if one.name
        ),
        writes=any(writes(one) for one in dependant.dependencies),
        needs=frozenset(_calls(dependant)) - {dependant.call},
    )


def _declared(dependant: Any) -> tuple[Any, ...]:
    return (*dependant.path_params, *dependant.query_params, *dependant.header_params)


def _fields(dependant: Any) -> Iterator[bytes]:
    """Yield the fields of a request that a dependency, or one that it needs, declares."""
    for field in dependant.header_params:
        if not _is_model(field):
            yield field.alias.lower().encode("latin-1")
    scheme = getattr(dependant.call, "model", None) if _is_security(dependant.call) else None
    if scheme is not None and scheme.type_.value != "apiKey":
        yield b"authorization"
    elif scheme is not None and scheme.in_.value == "header":
        yield scheme.name.lower().encode("latin-1")
    for one in dependant.dependencies:
        yield from _fields(one)


def _is_security(call: object) -> bool:
    from fastapi.security.base import SecurityBase

    return isinstance(call, SecurityBase)


def _is_model(field: Any) -> bool:
    """Tell whether a parameter takes several fields of the request at once."""
    return hasattr(field.field_info.annotation, "model_fields")


def _value(field: Any, arguments: Mapping[str, object], title: str) -> object:
    name = field.name
    if name not in arguments:
        if field.field_info.is_required():
            msg = f"{title}: expected the argument {name!r}, which has no default."
            raise TypeError(msg)
        return field.get_default()
    if arguments[name] is LATER:
        return LATER
    value, errors = field.validate(arguments[name], {}, loc=(name,))
    if errors:
        msg = f"{title}: {name}={arguments[name]!r} is no such argument: {errors[0]['msg']}."
        raise TypeError(msg)
    return value


def _reads_request(dependant: Any) -> bool:
    """Tell whether a dependency, or one that it needs, sees anything of the request."""
    return bool(
        dependant.header_params
        or dependant.cookie_params
        or dependant.body_params
        or dependant.request_param_name
        or dependant.http_connection_param_name
        or dependant.security_scopes_param_name
        or any(_reads_request(one) for one in dependant.dependencies)
    )


def _told(dependant: Any) -> Iterator[object]:
    """
    Yield the dependencies whose results are given to one that sees the request.

    It may write into them who asks, as a row-level security does into a session.
    """
    for one in dependant.dependencies:
        if _reads_request(one):
            yield from _calls(one)
        yield from _told(one)


def _calls(dependant: Any) -> Iterator[object]:
    """Yield a dependency, and all that it needs."""
    yield dependant.call
    for one in dependant.dependencies:
        yield from _calls(one)


def _may_know(dependant: Any, told: frozenset[object]) -> bool:
    """Tell whether a dependency sees the request, or is among those that were *told* of it."""
    return _reads_request(dependant) or not told.isdisjoint(_calls(dependant))
