"""
Whether a policy fits where it stands: on a route, with its arguments, or in front of a whole
application.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from ..errors import InvalidOption
from ..keys.templates import TagTemplate
from .policy import HttpCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .profiles import Profile


def of_a_route(policy: HttpCache) -> HttpCache:
    """
    Return *policy* if it is one of a route.

    One of a whole application is asked before guards: there a response says itself whose it is.
    """
    if policy.for_whole_app:
        msg = (
            f"{policy!r}: this is for HttpCacheMiddleware(policy=...), for a whole application. "
            "On a route write HttpCache('30 seconds', ...)."
        )
        raise InvalidOption(msg)
    return policy


def check_tags(policy: HttpCache, names: Sequence[str], title: str) -> None:
    """
    See that tags can be made of the arguments *names*.

    Raises:
        InvalidOption: They cannot, and each request would fail.
    """
    if callable(policy.tags):
        _check_call(policy.tags, "tags", names, title)
    else:
        for tag in policy.tags:
            TagTemplate(tag, names)


def check_validators(policy: HttpCache, names: Sequence[str], title: str) -> None:
    """
    See that `etag=` and `last_modified=` can be called with the arguments *names*.

    Raises:
        InvalidOption: One cannot, and each request would fail.
    """
    for option, function in (("etag", policy.etag), ("last_modified", policy.last_modified)):
        if callable(function):
            _check_call(function, option, names, title)


def _check_call(
    function: Callable[..., object], option: str, names: Sequence[str], title: str
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        msg = (
            f"{title}: {option}= is called with the arguments by name, and {error}. Write "
            f"lambda {', '.join(names)}: ..., or lambda **arguments: ..."
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
    if not isinstance(policy, HttpCache) or not policy.for_whole_app:
        msg = (
            f"policy={policy!r}: expected what a whole application gets, where nothing is fresh "
            "that it does not mark itself. Write HttpCache.for_app('safe', ...); a ttl is for "
            "routes, with @http_cache."
        )
        raise InvalidOption(msg)
    return policy
