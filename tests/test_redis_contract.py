"""The contract of all providers, on a real server."""

from __future__ import annotations

import pytest

from stillfresh.providers.base import CacheProvider
from stillfresh.providers.redis import RedisCacheProvider
from stillfresh.testing import ProviderContract


class TestRedis(ProviderContract):
    @pytest.fixture(autouse=True)
    def _server(self, url, prefix):
        self.url, self.prefix = url, prefix

    def make_provider(self) -> CacheProvider:
        return RedisCacheProvider(self.url, prefix=self.prefix)
