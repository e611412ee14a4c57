"""Serialization of five values as they occur: there and back, and how many bytes."""

from __future__ import annotations

import asyncio
import json
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from frame import OURS, Case, compete, loop_over

from stillfresh.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from run import Scale


@dataclass
class Product:
    """A row of a table."""

    id: int
    name: str
    price: float
    tags: list[str]
    in_stock: bool


class Order(msgspec.Struct):
    """The same idea as a Struct."""

    id: int
    lines: list[tuple[str, int]]
    total: float
    note: str | None = None


def samples() -> dict[str, tuple[Any, Any]]:
    """Return values with their types."""
    settings: dict[str, Any] = {f"setting_{n}": [n, f"value {n}", n / 3] for n in range(20)}
    products = [
        Product(n, f"product {n}", n * 1.25, ["new", "sale"], in_stock=n % 3 > 0)
        for n in range(100)
    ]
    order = Order(7, [("apples", 3), ("pears", 5)], 12.75)
    found: dict[str, tuple[Any, Any]] = {
        "dict of 20 fields": (settings, dict[str, list[int | str | float]]),
        "100 dataclasses": (products, list[Product]),
        "msgspec Struct": (order, Order),
        "64 KB of bytes": (b"\x00\x01\x02\x03" * 16_384, bytes),
    }
    try:
        import pydantic
    except ImportError:
        return found
    User = pydantic.create_model(  # noqa: N806  # it is a class
        "User", id=(int, ...), name=(str, ...), email=(str, ...), roles=(list[str], ...)
    )
    User.__module__ = __name__
    globals()["User"] = User  # where pickle looks for it
    user = User(id=1, name="Ada", email="ada@example.org", roles=["admin", "author"])
    found["pydantic model"] = (user, User)
    return found


def values(scale: Scale) -> list[Case]:
    """Encode and decode."""
    found = []
    for title, (value, kind) in samples().items():
        case = Case(f"value-{title.replace(' ', '-')}", title, "us", measure="pickle")
        codec = codec_for(kind)
        pairs: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
            "pickle": (lambda v: pickle.dumps(v, 5), pickle.loads),
            OURS: (codec.encode, codec.decode),
        }
        try:
            json.dumps(value)
            pairs["json, types lost"] = (json.dumps, json.loads)
        except TypeError:
            pass
        try:
            import orjson

            orjson.dumps(value)
            pairs["orjson, types lost"] = (orjson.dumps, orjson.loads)
        except (ImportError, TypeError):
            pass
        assert codec.decode(codec.encode(value)) == value
        loops = 20 if title == "100 dataclasses" else 200
        plays = {
            name: loop_over(
                "load(dump(value))", wait=False, loops=loops, dump=dump, load=load, value=value
            )
            for name, (dump, load) in pairs.items()
        }
        asyncio.run(compete(case, plays, scale.rounds))
        for row in case.rows:
            row.values = [nanoseconds / 1e3 for nanoseconds in row.values]
            row.note = f"{len(pairs[row.name][0](value)):,} bytes"
        found.append(case)
    return found


CASES = {"values": values}
