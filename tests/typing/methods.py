"""Cached methods have the types of the method, however they are reached."""

from typing import assert_type

from stillfresh import App, CacheProvider, MemoryCacheProvider, cache, hook, inject


class Product:
    """What is cached."""


class ProductService:
    @cache(ttl=(5, "minutes"), tags=["product:{product_id}"])
    async def product(self, product_id: int, lang: str = "en") -> Product:
        return Product()

    @cache
    def count(self, kind: str) -> int:
        return len(kind)

    @cache
    @classmethod
    async def made(cls, number: int) -> Product:
        return Product()

    @cache(ttl=None)
    @classmethod
    def named(cls, number: int) -> str:
        return f"{cls.__name__}{number}"

    @cache
    @staticmethod
    async def free(number: int) -> str:
        return str(number)

    @cache
    @staticmethod
    def free_sync(number: int) -> str:
        return str(number)

    @staticmethod
    @cache
    def free_below(number: int) -> str:
        return str(number)

    @classmethod
    @cache
    def named_below(cls, number: int) -> str:
        return f"{cls.__name__}{number}"

    async def rename(self, product_id: int) -> None:
        await self.product.invalidate(product_id)
        await self.product.invalidate("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Special(ProductService):
    """A subclass may override a cached method with a cached one."""

    @cache
    async def product(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, product_id: int, lang: str = "de"
    ) -> Product:
        return await super().product(product_id, lang)


class ProductApi:
    products = inject(ProductService)

    @hook("ready")
    async def warm(self) -> int:
        return self.products.count("all")

    @hook("stop")
    def end(self, hard: bool = False) -> str:
        return str(hard)


async def instances(service: ProductService, special: Special) -> None:
    assert_type(await service.product(1), Product)
    assert_type(await service.product(product_id=1, lang="de"), Product)
    assert_type(await special.product(1), Product)
    assert_type(service.count("x"), int)
    assert_type(await service.product.refresh(1), Product)
    assert_type(service.product.key(1), str)
    service.count.invalidate("x")
    service.count.store(1, "x")

    await service.product("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await service.product.peek("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await service.product.invalidate()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    service.count.store("1", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service.count(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def class_methods(service: ProductService) -> None:
    assert_type(ProductService.named(1), str)
    assert_type(service.named(1), str)
    assert_type(ProductService.named_below(1), str)
    ProductService.named.invalidate(1)
    service.named.invalidate(1)
    await ProductService.made.invalidate(1)
    await service.made.invalidate(1)
    assert_type(await ProductService.made(1), Product)
    assert_type(await service.made(1), Product)

    ProductService.named("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    service.named("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ProductService.named.invalidate("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# mypy does not compare the first parameter when it chooses how an attribute is bound, and takes
# it away in all cases. For static methods, and for methods through the class, it is wrong.


async def static_methods(service: ProductService) -> None:
    assert_type(await ProductService.free(1), str)  # type: ignore[call-arg]
    assert_type(await service.free(1), str)  # type: ignore[call-arg]
    assert_type(service.free_sync(1), str)  # type: ignore[call-arg]
    await service.free.invalidate(1)  # type: ignore[call-arg]
    ProductService.free_sync.invalidate(1)  # type: ignore[call-arg]

    assert_type(ProductService.free_below(1), str)  # type: ignore[call-arg]
    assert_type(service.free_below(1), str)  # type: ignore[call-arg]

    service.free_sync("1")  # type: ignore[call-arg]  # pyright: ignore[reportArgumentType]


async def through_the_class(service: ProductService) -> None:
    assert_type(await ProductService.product(service, 1), Product)  # type: ignore[arg-type]
    assert_type(ProductService.count.key(service, "x"), str)  # type: ignore[call-arg, arg-type]
    await ProductService.product.invalidate(service, 1)  # type: ignore[arg-type]


async def apps() -> None:
    app = App(ProductApi)
    assert_type(app.provide(CacheProvider, MemoryCacheProvider), App)
    app.provide(CacheProvider, MemoryCacheProvider(max_entries=10))
    app.provide(CacheProvider, lambda: MemoryCacheProvider())
    api = app.get(ProductApi)
    assert_type(api, ProductApi)
    assert_type(api.products, ProductService)
    assert_type(await api.products.product(1), Product)
    assert_type(await api.warm(), int)
    assert_type(api.end(hard=True), str)
    api.products = Special()
    with app.override(ProductService, Special()) as fake:
        assert_type(fake, ProductService)
    async with app as running:
        assert_type(running, App)
    with app:
        app.sync.invalidate_tags("products")

    app.provide(ProductService, Product)  # type: ignore[arg-type]
    api.end("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.invalidate_tags(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
