"""An action has the types of its method, and its controls have types of their own."""

from typing import assert_type

from stillfresh import App, action, inject


class Product:
    """What is served."""


class ProductApi:
    @action("/products/{product_id}")
    async def get_product(self, product_id: int, lang: str = "en") -> Product:
        return Product()

    @action("/count", method="POST", status_code=201)
    def count(self, kind: str) -> int:
        return len(kind)


class Other:
    api = inject(ProductApi)

    async def use(self) -> Product:
        return await self.api.get_product(1)


async def calls(api: ProductApi) -> None:
    assert_type(await api.get_product(1, lang="de"), Product)
    assert_type(api.count("x"), int)
    await api.get_product("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    api.count(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def an_app_is_asgi() -> None:
    app = App(ProductApi)
    assert_type(app.http.title, str)
    action(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    action("/", methods="GET")
