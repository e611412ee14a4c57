"""
The options of `@action` that are FastAPI's: a wrong one is an error at its line.

To import FastAPI takes longer than all of our own, so it is asked only about a name that is not
known here: a mistake, or an option of a version to come.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

from ..errors import InvalidOption
from ..names import meant
from .policy import HttpCache

if TYPE_CHECKING:
    from collections.abc import Mapping

_OWN: Final = ("path", "method", "cache", "etag", "last_modified", "tags", "invalidates")
_OURS_TO_SAY: Final = frozenset({"self", "path", "endpoint", "methods"})
"""Parameters of FastAPI that `@action` fills in."""
_USUAL: Final = frozenset(
    {
        "callbacks",
        "dependencies",
        "deprecated",
        "description",
        "generate_unique_id_function",
        "include_in_schema",
        "name",
        "openapi_extra",
        "operation_id",
        "response_class",
        "response_description",
        "response_model",
        "response_model_by_alias",
        "response_model_exclude",
        "response_model_exclude_defaults",
        "response_model_exclude_none",
        "response_model_exclude_unset",
        "response_model_include",
        "responses",
        "route_class_override",
        "status_code",
        "summary",
    }
)
"""What every version has that an action may be served by."""


def check_route_options(path: str, route: Mapping[str, object]) -> None:
    """
    See that *route* is for FastAPI, and nothing that is the cache's or nobody's.

    Raises:
        InvalidOption: It is not.
    """
    if "methods" in route:
        msg = f"@action({path!r}, methods=...): an action has one method. Write method='POST'."
        raise InvalidOption(msg)
    for option in sorted(route.keys() & inspect.signature(HttpCache).parameters):
        given = f"{route[option]!r}" if option == "ttl" else f"HttpCache(..., {option}=...)"
        msg = (
            f"@action({path!r}, {option}=...): this is an option of the cache. Write cache={given}."
        )
        raise InvalidOption(msg)
    unusual = route.keys() - _USUAL
    if unusual:
        _ask_fastapi(path, sorted(unusual))


def _ask_fastapi(path: str, options: list[str]) -> None:
    from fastapi import APIRouter

    known = inspect.signature(APIRouter.add_api_route).parameters.keys() - _OURS_TO_SAY
    for option in options:
        if option not in known:
            hint = meant(option, [*_OWN, *sorted(known)])
            msg = (
                f"@action({path!r}, {option}=...): unknown option {option!r}.{hint} There are "
                f"{', '.join(_OWN)}, and those of FastAPI's routes."
            )
            raise InvalidOption(msg)
