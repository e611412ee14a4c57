"""The contract of all providers, on a real cluster of three servers."""

from __future__ import annotations

import pytest

from stillfresh.providers.base import CacheProvider
from stillfresh.providers.redis import RedisCacheProvider
from stillfresh.testing import ProviderContract


class TestCluster(ProviderContract):
    @pytest.fixture(autouse=True)
    def _servers(self, cluster, prefix):
        self.url, self.prefix = cluster.url, prefix

    def make_provider(self) -> CacheProvider:
        return RedisCacheProvider(self.url, prefix=self.prefix)
