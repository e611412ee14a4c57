"""A `Cache` as a decorator: functions that share a namespace with a store."""

import asyncio
import threading

import pytest

from stillfresh import (
    App,
    Cache,
    Cached,
    CacheProvider,
    InvalidOption,
    MemoryCacheProvider,
    NotRunning,
    SyncCached,
    cache,
)
from stillfresh.testing import isolated


@pytest.fixture(params=["objects", "bytes"])
def app(request):
    """A default app of its own, once with objects and once with bytes."""
    with isolated() as app:
        app.provide(CacheProvider, MemoryCacheProvider(serialize=request.param == "bytes"))
        yield app


@pytest.fixture
def users(app):
    return Cache[str](name="users", ttl="1 minute")


async def test_bare_it_caches(users):
    """A decorated function computes once per arguments, async and sync alike."""
    calls = []

    @users
    async def name(user: str) -> str:
        calls.append(user)
        return user.title()

    @users
    def initial(user: str) -> str:
        calls.append(user)
        return user[0]

    assert isinstance(name, Cached)
    assert isinstance(initial, SyncCached)
    assert [await name("ann") for _ in range(3)] == ["Ann"] * 3
    assert [initial("ann") for _ in range(3)] == ["a"] * 3
    assert calls == ["ann", "ann"]


async def test_the_default_key_starts_with_the_name(users):
    """Functions share the namespace, so their own names tell their keys apart."""

    @users
    async def get_user(user_id: str) -> str:
        return user_id

    @users
    async def get_user_twice(user_id: str) -> str:
        return user_id * 2

    assert get_user.key("u1") == 'get_user:"u1"'
    assert (await get_user("u1"), await get_user_twice("u1")) == ("u1", "u1u1")
    assert sorted(await users.keys()) == ['get_user:"u1"', 'get_user_twice:"u1"']
    assert await users.get('get_user:"u1"') == "u1"
    assert get_user.cache.name == users.name == "users"


async def test_with_key_it_is_the_key_of_the_store(users):
    """What the store writes the function reads, and the other way round."""
    calls = []

    @users(key="user:{user_id}")
    async def get_user(user_id: int) -> str:
        calls.append(user_id)
        return f"computed {user_id}"

    assert get_user.key(1) == "user:1"
    assert await get_user(1) == "computed 1"
    assert await users.get("user:1") == "computed 1"
    await users.set("user:1", "written")
    assert await get_user(1) == "written"
    await users.set("user:2", "before any call")
    assert await get_user(2) == "before any call"
    await users.delete("user:1")
    assert await get_user(1) == "computed 1"
    await get_user.invalidate(1)
    assert await users.get("user:1") is None
    assert calls == [1, 1]


async def test_a_write_to_the_store_beats_what_the_function_computes(users):
    """A value that was read before the write never comes back after it."""
    called, gate = asyncio.Event(), asyncio.Event()

    @users(key="user:{user_id}")
    async def get_user(user_id: int) -> str:
        called.set()
        await gate.wait()
        return "old"

    caller = asyncio.create_task(get_user(1))
    await called.wait()
    await users.set("user:1", "new")
    assert await get_user(1) == "new"
    gate.set()
    await caller
    assert await get_user(1) == await users.get("user:1") == "new"


async def test_a_write_reaches_a_warm_function(users):
    """The short cut of the function does not outlive a change of the store."""

    @users(key="user:{user_id}")
    async def get_user(user_id: int) -> str:
        return "computed"

    for change, expected in (
        (lambda: users.set("user:1", "written"), "written"),
        (lambda: users.delete("user:1"), "computed"),
        (lambda: users.invalidate("user:*"), "computed"),
        (users.clear, "computed"),
    ):
        assert [await get_user(1) for _ in range(3)]
        await change()
        assert [await get_user(1) for _ in range(3)] == [expected] * 3


async def test_a_key_function(users):
    """A text is taken as it is; a tuple is encoded like arguments."""

    @users(key=lambda user_id: f"user:{user_id}")
    async def text(user_id: int) -> str:
        return "text"

    @users(key=lambda user_id: ("user", user_id))
    async def several(user_id: int) -> str:
        return "several"

    assert (text.key(1), several.key(1)) == ("user:1", '"user",1')
    await users.set("user:1", "written")
    assert (await text(1), await several(1)) == ("written", "several")


async def test_options_are_the_caches_unless_given(app):
    """A function under a Cache starts from its options; its own come first."""
    users = Cache[int](name="users", ttl="1 minute")

    @users
    async def long() -> int:
        return 1

    @users(ttl="1 second")
    async def short() -> int:
        return 2

    await long()
    await short()
    app.clock.advance("1 second")
    assert (await long.explain()).status == "hit"
    assert (await short.explain()).status == "miss"


def test_nobody_waits_for_a_refresh_of_what_the_store_lets_be_stale(app):
    """Also when the function itself has no `stale`: it is refreshed in a worker thread."""
    users = Cache[str](name="users", ttl="10 seconds", stale="1 hour")
    gate = threading.Event()

    @users(key="{user}", stale=None)
    def name(user: str) -> str:
        assert gate.wait(10)
        return "new"

    users.sync.set("ann", "old")
    app.clock.advance("20 seconds")
    assert name("ann") == "old"
    gate.set()
    app.sync.settled()
    assert name("ann") == "new"


async def test_tags_and_clear_reach_all_of_it(users):
    """The store's changes hold for the functions under it."""

    @users(tags=["user:{user}"])
    async def name(user: str) -> str:
        return user

    @users
    def initial(user: str) -> str:
        return user[0]

    async def warm():
        await name("ann")
        await name("bob")
        initial("ann")
        await users.set("by hand", "x", tags=["user:ann"])

    await warm()
    await users.invalidate_tags("user:ann")
    assert sorted(await users.keys()) == ['initial:"ann"', 'name:"bob"']
    await warm()
    await users.clear()
    assert await users.keys() == []


async def test_clear_of_a_function_drops_its_own(users):
    """`f.clear()` and `f.invalidate_matching()` leave other functions and the store alone."""

    @users
    async def name(user: str) -> str:
        return user

    @users
    async def names(user: str) -> str:
        return user

    async def warm():
        for function in (name, names):
            await function("ann")
            await function("bob")
        await users.set("by hand", "x")

    await warm()
    await name.clear()
    assert sorted(await users.keys()) == ["by hand", 'names:"ann"', 'names:"bob"']
    await warm()
    await name.invalidate_matching('*"ann"')
    assert 'name:"ann"' not in await users.keys()
    assert len(await users.keys()) == 4
    await name.invalidate_matching("*")
    assert sorted(await users.keys()) == ["by hand", 'names:"ann"', 'names:"bob"']
    assert (name.stats.entries, names.stats.entries) == (0, 2)


async def test_clear_with_a_template_drops_its_keys(users):
    """With `key=` the entries of the function are those that its template can name."""

    @users(key="user:{user}")
    async def name(user: str) -> str:
        return user

    async def warm():
        await name("ann")
        await users.set_many({"user:by hand": "x", "team:1": "y"})

    await warm()
    await name.clear()
    assert await users.keys() == ["team:1"]
    await warm()
    await name.invalidate_matching("*")
    assert await users.keys() == ["team:1"]


async def test_values_come_back_typed(app):
    """The function's annotation and the store's type say the same, and both can be read."""
    places = Cache[tuple[float, float]](name="places")

    @places(key="{city}")
    async def place(city: str) -> tuple[float, float]:
        return (48.9, 2.3)

    assert await place("paris") == (48.9, 2.3)
    assert await place("paris") == (48.9, 2.3)
    assert await places.get("paris") == (48.9, 2.3)
    await places.set("lyon", (45.7, 4.8))
    assert await place("lyon") == (45.7, 4.8)
    assert place.stats.hits == 2


# Methods


class Base:
    store = Cache[str](ttl="1 minute")

    @store
    async def whoami(self) -> str:
        return type(self).__name__

    @store(key="written:{name}")
    def written(self, name: str) -> str:
        return f"{type(self).__name__} {name}"


class One(Base):
    pass


class Two(Base):
    pass


async def test_inherited_methods_are_apart(app):
    """Each concrete class has its own entries under the shared Cache."""
    async with App(Base, One, Two) as services:
        found = [await services.get(kind).whoami() for kind in (Base, One, Two)]
        assert found == ["Base", "One", "Two"]
        assert [await services.get(kind).whoami() for kind in (Base, One, Two)] == found
        keys = sorted(await services.get(Base).store.keys())
        assert keys == ["whoami:", "whoami@One:", "whoami@Two:"]
        stats = services.get(One).whoami.stats
        assert (stats.hits, stats.misses, stats.entries) == (1, 1, 1)
        assert (Base.whoami.stats.hits, Base.whoami.stats.entries) == (3, 3)


async def test_methods_belong_to_the_app_of_their_instance():
    """The store of one app holds what its service computed, and not what another's did."""
    one, two = App(Base), App(Base)
    async with one, two:
        await one.get(Base).whoami()
        assert await one.get(Base).store.keys() == ["whoami:"]
        assert await two.get(Base).store.keys() == []
        await two.get(Base).store.set("written:a", "by hand")
        assert two.get(Base).written("a") == "by hand"
        assert one.get(Base).written("a") == "Base a"


async def test_class_and_static_methods(users):
    """They are cached under the Cache, too, with the class where there is one."""

    class Service:
        @users
        @classmethod
        async def made(cls, number: int) -> str:
            return f"{cls.__name__} {number}"

        @users
        @staticmethod
        async def free(number: int) -> str:
            return str(number)

    class Other(Service):
        pass

    assert await Service.made(1) == await Service().made(1) == "Service 1"
    assert await Other.made(1) == "Other 1"
    assert await Service.free(1) == await Service().free(1) == "1"
    assert len(await users.keys()) == 3
    await Service.made.invalidate(1)
    assert len(await users.keys()) == 2


# What is refused


async def test_two_functions_of_one_name_are_an_error(users):
    """Two classes whose methods would share a key are told so, by both names."""

    class A:
        @users
        async def get(self, number: int) -> str:
            return "A"

    class B:
        @users
        async def get(self, number: int) -> str:
            return "B"

    assert await A().get(1) == "A"
    with pytest.raises(InvalidOption, match=r"A\.get, and .*B\.get wants it too"):
        await B().get(1)


def test_a_name_is_refused(users):
    """A function under a Cache has the Cache's name."""
    with pytest.raises(InvalidOption, match="name=: a function under a Cache"):

        @users(name="other")
        async def get_user() -> str:
            return ""


def test_options_are_named(users):
    """What is no function is not decorated."""
    with pytest.raises(InvalidOption, match="options are named"):
        users("1 minute")
    with pytest.raises(InvalidOption, match="unknown option"):
        users(tll=1)


async def test_the_cache_of_a_function_is_its_store(users):
    """They are equal: both are over the same entries. Of one function alone it is its own."""

    @users
    async def get_user() -> str:
        return "x"

    @users(provider="memory")
    async def elsewhere() -> str:
        return "x"

    @cache
    async def apart() -> str:
        return "x"

    assert get_user.cache == get_user.cache == users
    assert {get_user.cache, users} == {users}
    assert apart.cache == apart.cache != users
    assert elsewhere.cache not in {users, apart.cache}
    assert users != Cache[str](name="users")
    assert users != "users"

    class Service:
        own = Cache[str]()

        @own
        async def method(self) -> str:
            return "x"

        @own(key="k")
        async def keyed(self) -> str:
            return "x"

        @own
        @classmethod
        async def of_class(cls) -> str:
            return "x"

    async with App(Service) as app, App(Service) as other:
        one, two, free = app.get(Service), other.get(Service), Service()
        assert one.method.cache == one.keyed.cache == one.own != two.own == two.method.cache
        assert free.method.cache == free.keyed.cache == Service.own == Service.of_class.cache
        free.state = 1  # its entries are its own from now on, but for those with a key
        assert free.method.cache == free.method.cache != Service.own == free.keyed.cache
        assert free.method.cache != Service().method.cache


async def test_the_store_of_a_function_decorates_nothing(users):
    """`f.cache` is for looking and dropping; a declared Cache decorates."""

    @users
    async def get_user() -> str:
        return "x"

    with pytest.raises(InvalidOption, match="Declare a Cache"):
        get_user.cache(lambda: 1)


async def test_controls_of_a_function_need_a_running_app():
    """A function under a Cache whose app does not run computes, and refuses changes."""
    service = App(Base).get(Base)
    assert await service.whoami() == "Base"
    assert service.whoami.stats.bypasses == 1
    for change in (
        service.whoami.invalidate(),
        service.whoami.expire(),
        service.whoami.store("x"),
        service.whoami.clear(),
        service.whoami.invalidate_matching("*"),
    ):
        with pytest.raises(NotRunning):
            await change


async def test_free_instances_keep_their_own(users):
    """Two functions of one instance with attributes share a Cache; another instance does not."""

    class Service:
        def __init__(self, number: int):
            self.number = number

        @users
        async def one(self) -> str:
            return f"one {self.number}"

        @users
        async def two(self) -> str:
            return f"two {self.number}"

    first, second = Service(1), Service(2)
    for _ in range(2):
        found = [await first.one(), await first.two(), await second.one()]
        assert found == ["one 1", "two 1", "one 2"]
    assert (first.one.stats.hits, first.one.stats.entries) == (1, 1)
    await first.one.clear()
    assert (first.one.stats.entries, first.two.stats.entries) == (0, 1)
    assert await users.keys() == []
