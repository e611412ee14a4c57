"""Pydantic models: whole, or not at all."""

import os
import subprocess
import sys
import types
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

import pytest

pydantic = pytest.importorskip("pydantic")

from pydantic import (  # noqa: E402 - after the check that it is there
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
    field_validator,
)

from stillfresh.codecs import UNKNOWN, UnreadableFrame, codec_for  # noqa: E402  # what needs pydantic is skipped above
from stillfresh.codecs.frame import seal  # noqa: E402  # what needs pydantic is skipped above
from stillfresh.codecs.identical import identical  # noqa: E402  # what needs pydantic is skipped above
from stillfresh.codecs.plain import pack  # noqa: E402  # what needs pydantic is skipped above
from stillfresh.errors import NotSerializable  # noqa: E402  # what needs pydantic is skipped above

T = TypeVar("T")


class Color(Enum):
    RED = 1


class Item(BaseModel):
    id: UUID = Field(default_factory=uuid4)
    price: Decimal
    color: Color | None = None


class Order(BaseModel):
    items: list[Item]
    placed: datetime = Field(default_factory=datetime.now)
    url: HttpUrl | None = None
    by_name: dict[str, Item] = {}


class Node(BaseModel):
    children: "list[Node]" = []


class Page(BaseModel, Generic[T]):
    items: list[T]


class Camel(BaseModel):
    model_config = ConfigDict(populate_by_name=True, frozen=True)
    first_name: str = Field(alias="firstName")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Computed(BaseModel):
    x: int

    @computed_field  # type: ignore[prop-decorator] # as its documentation says
    @property
    def double(self) -> int:
        return 2 * self.x


class Secret(BaseModel):
    user: str
    password: SecretStr


class Excluded(BaseModel):
    x: int = Field(default=1, exclude=True)


class Private(BaseModel):
    x: int
    _y: int = PrivateAttr(default=1)


class Renamed(BaseModel):
    x: int = Field(validation_alias="a", serialization_alias="b")


class Given(BaseModel):
    model_config = ConfigDict(extra="forbid")
    one: int = Field(validation_alias=AliasChoices("x", AliasPath("y", "z")))
    two: Renamed | None = None
    more: dict[str, list[Renamed]] = {}


class Crossed(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = Field(0, validation_alias="x", serialization_alias="y")
    b: int = Field(0, validation_alias="y", serialization_alias="x")


class Upper(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def double(cls, value: str) -> str:
        return value + value


class Numbers(RootModel[list[int]]):
    pass


class Animal(BaseModel):
    name: str


class Dog(Animal):
    good: bool = True


class Holder(BaseModel):
    animal: Animal


class Blob(BaseModel):
    data: bytes


class Measure(BaseModel):
    x: float


class Anything(BaseModel):
    it: Any


def private(value: int) -> Private:
    model = Private(x=1)
    model._y = value
    return model


ROUND_TRIPS: list[tuple[object, object]] = [
    (Order, Order(items=[Item(price=Decimal("1.00"), color=Color.RED)])),
    (Order, Order(items=[], url=HttpUrl("https://a.example/b"))),
    (Order, Order(items=[], by_name={"b": Item(price=Decimal(1)), "a": Item(price=Decimal(2))})),
    (list[Item | None], [Item(price=Decimal(1)), None]),
    (Node, Node(children=[Node(), Node(children=[Node()])])),
    (Page[Item], Page[Item](items=[Item(price=Decimal(3))])),
    (Camel, Camel(first_name="a")),
    (Open, Open(x=1, y="more")),  # type: ignore[call-arg] # it takes extras
    (Computed, Computed(x=2)),
    (Private, private(1)),
    (Numbers, Numbers([1, 2])),
    (Animal | Dog, Dog(name="a")),
    (Excluded, Excluded()),
    (Anything, Anything(it={"a": [1]})),
    (Item, Item.model_construct(price=Decimal(1))),
    (Renamed, Renamed(a=1)),  # type: ignore[call-arg] # its alias
    (list[Renamed], [Renamed(a=1), Renamed(a=2)]),  # type: ignore[call-arg] # its alias
    (Given, Given.model_validate({"x": 1, "two": {"a": 2}, "more": {"k": [{"a": 3}]}})),
    (Given, Given.model_validate({"y": {"z": 1}})),
    (Crossed, Crossed.model_validate({"x": 1, "y": 2, "z": 3})),
    (Crossed, Crossed.model_validate({"y": 2})),
    (Crossed, Crossed.model_validate({"a": 1})),
]


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS)
def test_a_model_comes_back_as_it_was(annotation: object, value: object) -> None:
    """A model comes back with its fields, and with the set of those that were given."""
    result = codec_for(annotation).decode(codec_for(annotation).encode(value))
    assert result == value
    assert identical(result, value)
    codec_for(annotation).try_value(value)


REFUSED: list[tuple[object, object, str]] = [
    (Secret, Secret(user="u", password=SecretStr("p")), r"return\.password"),
    (list[Secret], [Secret(user="u", password=SecretStr("p"))], r"return\[0\]\.password"),
    (Excluded, Excluded(x=2), r"return\.x"),
    (Private, private(2), r"return\.__pydantic_private__"),
    (Renamed, Renamed.model_construct(x="1"), "return: Renamed cannot be rebuilt"),
    (Crossed, Crossed.model_validate({"x": 1, "y": 2, "b": 3}), "return"),
    (Upper, Upper(text="a"), r"return\.text"),
    (Animal, Dog(name="a"), "return: expected Animal, found Dog"),
    (Holder, Holder(animal=Dog(name="a")), r"return\.animal"),
    (Anything, Anything(it=(1, 2)), r"return\.it"),
    (Anything, Anything(it=datetime(2024, 1, 1)), r"return\.it"),
    (Item, Item.model_construct(price="1"), r"return\.price"),
    (Blob, Blob(data=b"\xff"), "return: Blob cannot be dumped"),
    (Measure, Measure(x=float("nan")), "return: Measure cannot be rebuilt"),
    (UNKNOWN, Animal(name="a"), "return: an object of Animal"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED)
def test_a_model_that_would_change_is_refused(
    annotation: object, value: object, message: str
) -> None:
    """Secrets, excluded fields, private attributes and the like are refused, not cut down."""
    with pytest.raises(NotSerializable, match=message):
        codec_for(annotation).encode(value)


def test_a_changed_model_is_another_type() -> None:
    """A field of another type, however deep, makes older frames a miss."""

    def order(kind: type) -> type[BaseModel]:
        item = pydantic.create_model("Item", __module__="shop", x=(kind, ...))
        made: type[BaseModel] = pydantic.create_model(
            "Order", __module__="shop", items=(list[item], ...)
        )
        return made

    old, new = order(int), order(float)
    frame = codec_for(old).encode(old.model_validate({"items": [{"x": 1}]}))
    assert codec_for(order(int)).fingerprint == codec_for(old).fingerprint
    with pytest.raises(UnreadableFrame):
        codec_for(new).decode(frame)


def changed(before: str, after: str, value: str) -> object:
    """Store *value* under the classes that *before* defines, and read it under those of *after*."""
    old, new = [_module(source) for source in (before, after)]
    return codec_for(new["X"]).decode(codec_for(old["X"]).encode(eval(value, old)))


def _module(source: str) -> dict[str, Any]:
    module = types.ModuleType("shop")
    sys.modules["shop"] = module  # where forward references look
    exec(PREAMBLE + source, vars(module))
    return vars(module)


PREAMBLE = """
from __future__ import annotations
import enum, typing as t
from dataclasses import dataclass
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as checked
from typing_extensions import TypedDict
"""
FLAG = "class X(BaseModel):\n is_banned: bool = {}\n"
PAIR = "class X(BaseModel):\n a: int = Field(alias={!r})\n b: int = Field(alias={!r})\n"
INNER = "\nclass X(BaseModel):\n it: Y\n"
COLORS = "class Y(enum.Enum):\n A = {}\n B = {}\n" + INNER
WORDS = "class Y(enum.StrEnum):\n A = {!r}\n B = {!r}\n"
RENAMED: list[tuple[str, str, str]] = [
    (
        FLAG.format("False"),
        FLAG.format("False") + " model_config = ConfigDict(alias_generator=to_camel)\n",
        "X(is_banned=True)",
    ),
    (FLAG.format("Field(False, alias='x')"), FLAG.format("Field(False, alias='y')"), "X(x=True)"),
    (
        FLAG.format("Field(False, alias='x')"),
        FLAG.format("Field(False, alias='x')")
        + " model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)\n",
        "X(x=True)",
    ),
    (PAIR.format("x", "y"), PAIR.format("y", "x"), "X(x=1, y=2)"),
    (
        "class Y(BaseModel):\n q: int = Field(0, alias='Q')\n" + INNER,
        "class Y(BaseModel):\n q: int = 0\n" + INNER,
        "X(it=Y(Q=1))",
    ),
    (
        "class Y(BaseModel):\n q: int = Field(0, alias='Q')\n next: t.Optional[Y] = None" + INNER,
        "class Y(BaseModel):\n q: int = 0\n next: t.Optional[Y] = None" + INNER,
        "X(it=Y(Q=1, next=Y(Q=2)))",
    ),
    (
        "@checked\nclass Y:\n q: int = Field(0, alias='Q')\n" + INNER,
        "@checked\nclass Y:\n q: int = 0\n" + INNER,
        "X(it=Y(Q=1))",
    ),
    (
        "class Y(TypedDict, total=False):\n q: t.Annotated[int, Field(alias='Q')]\n" + INNER,
        "class Y(TypedDict, total=False):\n q: int\n" + INNER,
        "X(it={'Q': 1})",
    ),
    *(
        (
            "class Y(BaseModel):\n q: int = Field(0, alias='Q')\n" + holder,
            "class Y(BaseModel):\n q: int = 0\n" + holder,
            f"X({word}=Y(Q=1))",
        )
        for word in ("metadata", "default", "cls", "config", "type", "name", "fields")
        for holder in [f"class X(BaseModel):\n {word}: Y\n"]
    ),
    (COLORS.format(1, 2), COLORS.format(2, 1), "X(it=Y.A)"),
    (COLORS.format("'a'", "'b'"), COLORS.format("'b'", "'a'"), "X(it=Y.A)"),
    (
        WORDS.format("a", "b") + "class X(BaseModel):\n it: t.Literal[Y.A, Y.B]\n",
        WORDS.format("b", "a") + "class X(BaseModel):\n it: t.Literal[Y.A, Y.B]\n",
        "X(it=Y.A)",
    ),
]


@pytest.mark.parametrize(("before", "after", "value"), RENAMED)
def test_what_the_json_is_written_with_is_part_of_the_type(
    before: str, after: str, value: str
) -> None:
    """Another alias, or another value of an enum, makes older frames a miss, not a wrong hit."""
    assert repr(changed(before, before, value)) == repr(eval(value, _module(before)))
    with pytest.raises(UnreadableFrame):
        changed(before, after, value)


def test_names_and_values_are_spelled_alike_in_every_process() -> None:
    """What a fingerprint is made of holds no address and no order of a set."""
    source = PREAMBLE + (
        "class Y(enum.Enum):\n A = object()\n B = frozenset('abc')\n C = (1, 'a')\n"
        "class Z(BaseModel):\n"
        " model_config = ConfigDict(alias_generator=to_camel, arbitrary_types_allowed=True)\n"
        " one_two: int = Field(0, validation_alias=AliasChoices('x', AliasPath('y', 0)))\n"
        " again: t.Optional[Z] = None\n"
        "class X(BaseModel):\n it: Y\n a: Z\n b: list[Z]\n c: t.Set[t.Literal['a', 'b']] = {'a', 'b'}\n"
        "from stillfresh.codecs import codec_for\n"
        "print(codec_for(X).fingerprint.hex())\n"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(prints) == 1


def test_a_model_may_need_both_ways_by_turns() -> None:
    """What was written with aliases and what was written without are read by the same codec."""
    codec = codec_for(Crossed)
    values = [Crossed.model_validate(each) for each in ({"y": 2}, {"a": 1}, {"y": 2}, {"a": 1})]
    frames = [codec.encode(value) for value in values]
    assert [codec.decode(frame) for frame in frames] == values
    with pytest.raises(UnreadableFrame):
        codec.decode(seal(codec.fingerprint, pack(["{}", [[]], 2]), compress=False))
