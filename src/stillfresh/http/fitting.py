"""
Whether a policy fits where it stands: on a route, with its arguments, or in front of a whole
application.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from ..errors import InvalidOption
from .policy import HttpCache

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .profiles import Profile


def of_a_route(policy: HttpCache) -> HttpCache:
    """
    Return *policy* if it is one of a route.

    One of a whole application is asked before guards: there a response says itself whose it is.
    """
    if policy.fresh is None:
        msg = (
            f"{policy!r}: this is for HttpCacheMiddleware(policy=...), for a whole application. "
            "On a route write HttpCache('30 seconds', ...)."
        )
        raise InvalidOption(msg)
    return policy


def check_functions(
    policy: HttpCache, names: Iterable[str], cheap: Iterable[str], title: str
) -> None:
    """
    See that functions of the arguments can be called with those that there are.

    *names* are what `tags=` gets, *cheap* what `etag=` and `last_modified=` get.

    Raises:
        InvalidOption: One cannot, and each request would fail.
    """
    for option, given in (("tags", names), ("etag", cheap), ("last_modified", cheap)):
        function = getattr(policy, option)
        if not callable(function):
            continue
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            continue
        arguments = dict.fromkeys(given)
        try:
            signature.bind(**arguments)
        except TypeError as error:
            names = ", ".join(arguments)
            msg = (
                f"{title}: {option}= is called with the arguments by name, and {error}. Write "
                f"lambda {names}: ..., or lambda **arguments: ..."
            )
            raise InvalidOption(msg) from None


def of_whole_app(profile: Profile | None, policy: object) -> HttpCache:
    """
    Return the policy of a whole application.

    One of a route has a lifetime of its own. Here it would be one for everything that the
    application does not forbid to store, in front of its guards.
    """
    if policy is None:
        return HttpCache.for_app(cast("Profile", profile))
    if profile is not None:
        msg = (
            f"profile={profile!r} beside policy=: the policy has a profile. "
            f"Write policy=HttpCache.for_app({profile!r}, ...) alone."
        )
        raise InvalidOption(msg)
    if not isinstance(policy, HttpCache) or policy.fresh is not None:
        msg = (
            f"policy={policy!r}: expected what a whole application gets, where nothing is fresh "
            "that it does not mark itself. Write HttpCache.for_app('safe', ...); a ttl is for "
            "routes, with @http_cache."
        )
        raise InvalidOption(msg)
    return policy
