"""The public names, pinned: adding or dropping one is a decision, not an accident."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stillfresh
import stillfresh.testing
from stillfresh import errors

WORDS = {
    "MISSING",
    "App",
    "Cache",
    "CacheProvider",
    "Cached",
    "MemoryCacheProvider",
    "MemoryTier",
    "SyncCached",
    "cache",
    "computation",
    "hook",
    "inject",
    "invalidate_tags",
    "lifespan",
    "provide",
    "sync",
}
ERRORS = {
    "AlreadyResolved",
    "AlreadyRunning",
    "AmbiguousApp",
    "CannotBuild",
    "ComputeCancelled",
    "ComputeTimeout",
    "InvalidDuration",
    "InvalidOption",
    "NotRunning",
    "NotSerializable",
    "ProviderUnavailable",
    "RecursiveComputation",
    "StillfreshError",
    "UnstableArgument",
}
LAZY = {
    "HttpCache",
    "HttpCacheMiddleware",
    "RedisCacheProvider",
    "action",
    "http_cache",
}  # need an extra; not loaded by a star import
TYPES = {"Computation", "Event", "Explanation", "Stats"}  # what users get, to annotate with
TESTING = {
    "ChaosProvider",
    "IsolatedApp",
    "ProviderContract",
    "VirtualClock",
    "isolated",
    "stillfresh_isolated",
}


def test_the_names_of_the_package():
    """What users write, every error, and the types of what they are given."""
    assert set(stillfresh.__all__) == WORDS | ERRORS | TYPES
    assert len(stillfresh.__all__) == len(set(stillfresh.__all__))


def test_the_names_of_the_testing_kit():
    """What tests are written with."""
    assert set(stillfresh.testing.__all__) == TESTING


def test_what_needs_an_extra_is_loaded_when_it_is_asked_for():
    """It is there, and the package is whole without it."""
    for name in LAZY:
        assert callable(getattr(stillfresh, name))
        assert name not in stillfresh.__all__
    with pytest.raises(AttributeError, match="no attribute 'RedisProvider'"):
        _ = stillfresh.RedisProvider


def test_what_is_loaded_late_is_listed():
    """An editor or a shell that asks `dir` completes those names and no others, and loads nothing."""
    program = (
        "import sys, stillfresh; print(*dir(stillfresh)); "
        "assert 'stillfresh.http.actions' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert set(done.stdout.decode().split()) == LAZY | set(stillfresh.__all__)


@pytest.mark.parametrize("module", [stillfresh, stillfresh.testing])
def test_every_name_is_there(module):
    """What is announced can be imported."""
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_error_is_public_and_has_one_root():
    """Whoever catches StillfreshError catches all; each one says what it is about."""
    declared = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and kind.__module__ == errors.__name__
    }
    assert set(declared) == ERRORS
    for name, kind in declared.items():
        assert getattr(stillfresh, name) is kind
        assert issubclass(kind, stillfresh.StillfreshError)
        assert kind.__doc__
        assert name in errors.__doc__


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("AlreadyResolved", RuntimeError),
        ("ComputeTimeout", TimeoutError),
        ("InvalidDuration", ValueError),
        ("InvalidOption", ValueError),
        ("NotSerializable", TypeError),
        ("RecursiveComputation", RuntimeError),
        ("UnstableArgument", TypeError),
    ],
)
def test_errors_are_what_python_would_raise_too(name, builtin):
    """Code that knows nothing of this library catches them as usual."""
    assert issubclass(getattr(stillfresh, name), builtin)


def test_the_controls_of_sync_programs():
    """`stillfresh.sync` has the module-level controls without await."""
    public = {name for name, value in vars(stillfresh.sync).items() if inspect.isfunction(value)}
    assert {name for name in public if value_of(name).__module__ == "stillfresh.sync"} == {
        "invalidate_tags",
        "lifespan",
        "settled",
    }


def value_of(name):
    return getattr(stillfresh.sync, name)


@pytest.mark.parametrize(
    ("of", "kinds"),
    [
        ("an `App`", [stillfresh.App]),
        ("a cached function", [stillfresh.Cached, stillfresh.SyncCached]),
        ("a `Cache`", [stillfresh.Cache]),
        ("`computation()`", [stillfresh.Computation]),
    ],
)
def test_what_a_page_calls_public_is_there(of, kinds):
    """docs/app.md names what may be used of an object; each object has it."""
    page = (Path(__file__).parent.parent / "docs" / "app.md").read_text("utf-8")
    [row] = [line for line in page.splitlines() if line.startswith(f"| {of} | ")]
    names = re.findall(r"`(\w+)[()]*`", row.removeprefix(f"| {of} |"))
    assert len(names) > 3
    for kind in kinds:
        assert [name for name in names if not hasattr(kind, name)] == []


def test_what_a_provider_is_written_with_can_be_imported():
    """docs/providers.md names where each word is from."""
    from stillfresh.entry import Entry, Windows
    from stillfresh.providers.base import Address, Busy, Found, Lease, Refused

    page = (Path(__file__).parent.parent / "docs" / "providers.md").read_text("utf-8")
    for word in (Entry, Windows, Address, Busy, Found, Lease, Refused):
        assert f"`{word.__name__}`" in page
        assert f"`{word.__module__}`" in page


def test_missing_is_falsy_and_named():
    """`MISSING` is one object that reads as its name, and no value."""
    assert not stillfresh.MISSING
    assert repr(stillfresh.MISSING) == "MISSING"
