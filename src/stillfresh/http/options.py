"""What `HttpCache` takes by name besides its ttl, so that whoever passes it on is checked, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..durations import Duration


class HttpOptions(TypedDict, total=False):
    """The options; `HttpCache` says what each is."""

    public: bool
    per: Callable[[Any], object] | None
    tags: Iterable[str] | Callable[..., Iterable[str]]
    stale: Duration | None
    stale_if_error: Duration | None
    client_max_age: Duration | None
    private: bool
    vary_cookies: Iterable[str]
    ignore_cookies: Iterable[str]
    key: Callable[..., object] | None
    negative_ttl: Mapping[int, Duration] | None
    statuses: Iterable[int]
    jitter: float | None
    stale_on_exception: Duration | None
    max_refreshes: int
    stale_while_revalidate: Duration | None
    cdn_ttl: Duration | None
    must_revalidate: bool
    immutable: bool
    no_transform: bool
    etag: str | bool | Callable[..., object]
    last_modified: Callable[..., object] | None
    ranges: bool
    head_fills: bool
    methods: Iterable[str]
    request_directives: str
    trusted: Callable[[Any], object] | None
    directives_interval: Duration | None
    collapsed_forwarding: bool
    wait_limit: Duration | None
    min_uses: int
    fail_closed: bool
    unsafe_drops: bool
    precompress: Iterable[str]
    hop_by_hop: Iterable[str]
    strip_set_cookie: Iterable[str]
    host_in_key: bool
    hosts: Iterable[str]
    ignore_query: Iterable[str]
    sort_query: bool
    normalize: Mapping[str, Callable[[bytes], bytes]] | None
    max_variants: int
    max_entries: int
    targeted: Iterable[str]
    max_body: int
    max_header_bytes: int
    stream: str
    trust_forwarded: bool
    store_nonces: bool
    cache_status: bool | str
    emit_groups: bool | Callable[[str], str | None]
