"""Identical: nothing tells two values apart, and that is more than `==` says."""

from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import pytest

from stillfresh.codecs.identical import difference, identical


@dataclass(eq=False)
class Box:
    item: object


class Generous:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def circle() -> list[object]:
    loop: list[object] = [1]
    loop.append(loop)
    return loop


NAN = float("nan")
OTHER_NAN = -NAN
WINTER = datetime(2024, 1, 1, 12, tzinfo=UTC)

PART, OTHER = [1], [2]
SHARED = {Box((OTHER, 1)), Box((OTHER, 1))}

SAME: list[tuple[object, object]] = [
    (NAN, OTHER_NAN),
    (complex(NAN, 1), complex(OTHER_NAN, 1)),
    ([NAN], [OTHER_NAN]),
    ({NAN, 1.0}, {1.0, OTHER_NAN}),
    ({"a": NAN}, {"a": OTHER_NAN}),
    (Decimal("NaN"), Decimal("NaN")),
    (Box([Box(1)]), Box([Box(1)])),
    ({Box(1)}, {Box(1)}),
    (circle(), circle()),
    (Path("a"), Path("a")),
    (deque([1], 2), deque([1], 2)),
    (datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")), datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))),
]

DIFFERENT: list[tuple[object, object, str]] = [
    (1, True, ""),
    (1, 1.0, ""),
    (0.0, -0.0, ""),
    (complex(0, -0.0), complex(0, 0.0), ""),
    ([1, [2, True]], [1, [2, 1]], "[1][1]"),
    ([1], [1, 2], ""),
    ({1}, {True}, ""),
    ({1}, {2}, ""),
    (SHARED, {Box((PART, 1)), Box((PART, 1))}, ""),
    (frozenset({1.0}), frozenset({1}), ""),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, ""),
    ({"a": [0.0]}, {"a": [-0.0]}, "['a'][0]"),
    (OrderedDict(a=1), {"a": 1}, ""),
    (defaultdict(list), defaultdict(int), ".default_factory"),
    (deque([1]), deque([1], 2), ""),
    (Decimal("1.0"), Decimal("1.00"), ""),
    (WINTER, WINTER.astimezone(timezone(timedelta(hours=1))), ""),
    (WINTER, WINTER.replace(tzinfo=ZoneInfo("UTC")), ""),
    (WINTER, WINTER.replace(fold=1), ""),
    (WINTER, WINTER.replace(tzinfo=None), ""),
    (WINTER, WINTER.replace(tzinfo=timezone(timedelta(0), "UTC")), ""),
    (UUID(int=1), UUID(int=1, is_safe=SafeUUID.safe), ""),
    (Box(Box(1)), Box(Box(True)), ".item.item"),
    (Generous(), Generous(), ""),
    (object(), object(), ""),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_the_same_is_identical(one: object, two: object) -> None:
    """Identity of objects does not matter, nor does a nan that is not equal to itself."""
    assert identical(one, two)


@pytest.mark.parametrize(("one", "two", "path"), DIFFERENT)
def test_what_differs_is_named(one: object, two: object, path: str) -> None:
    """Types, signs, representations, zones and orders all count, and the place is given."""
    assert difference(one, two) == path
    assert difference(two, one) == path
