"""Replacing the provider, as a type checker sees it."""

from __future__ import annotations

from typing import assert_type

from stillfresh import App, CacheProvider, MemoryCacheProvider, MemoryTier, RedisCacheProvider

app = App()
assert_type(app.provide(CacheProvider, RedisCacheProvider), App)
app.provide(CacheProvider, lambda: RedisCacheProvider("redis://localhost", prefix="shop"))
app.provide(CacheProvider, MemoryCacheProvider(max_entries=10))

assert_type(RedisCacheProvider(lease="5 seconds", timeout=(2, "seconds")), RedisCacheProvider)
RedisCacheProvider(memory=MemoryTier(max_entries=10))
RedisCacheProvider(memory=object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
RedisCacheProvider(server="localhost")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
