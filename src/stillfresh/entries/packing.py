"""Values into entries and out of them: as they are on memory, as bytes elsewhere."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from ..codecs import UnreadableFrame
from ..entry import MISSING, Entry, Lasting
from ..errors import NotSerializable
from ..events import log
from ..providers.counters import fits, is_counter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..codecs import Codec
    from ..entry import Windows


class Packer:
    """The values of one function or store, on one provider."""

    def __init__(
        self, make_codec: Callable[[], Codec], *, serialized: bool, copy: bool, trial: bool
    ) -> None:
        self._make_codec = make_codec
        self._codec: Codec | None = None
        self.copies = copy
        """Callers get a copy each."""
        self.serialized = serialized
        self.tried = not trial
        """It was said, or need not be, what a provider that keeps bytes could not store."""
        self.measure: Callable[[object], int] | None = None
        """Says how large an object is that is kept as it is."""
        self.lasting = False
        """The values are data, which no function could compute again."""
        self._counts = False
        """Whole numbers are among the values, as far as is known."""

    @property
    def codec(self) -> Codec:
        """
        How values become bytes and back.

        Raises:
            NotSerializable: The type can never be stored.
        """
        if self._codec is None:
            self._codec = self._make_codec()
        return self._codec

    def check_type(self) -> None:
        """
        Let a function run whose results may be stored.

        Raises:
            NotSerializable: The provider keeps bytes, and the type can never become any.
        """
        if self.serialized:
            _ = self.codec

    def check_counter(self, title: str) -> None:
        """
        Let a counter be kept.

        Raises:
            TypeError: A whole number is no value here, so that no read would find it.
        """
        if self._counts:
            return
        try:
            self.codec.encode(0)
        except NotSerializable as error:
            msg = f"{title}.incr(): its values are no whole numbers. Declare a Cache[int] to count."
            raise TypeError(msg) from error
        self._counts = True

    def pack(
        self, value: object, born: float, windows: Windows, tags: frozenset[str] = frozenset()
    ) -> Entry:
        """
        Make an entry of *value*.

        Raises:
            NotSerializable: The provider keeps bytes, and the value does not fit its type.
        """
        if self.serialized:
            data = self.codec.encode(value)
            if type(value) is int and fits(value):
                # As digits, so that a counter can go on from it.
                data = str(value).encode()
            made = Lasting if self.lasting else Entry
            return made(data, born, windows, tags, len(data))
        if self.copies:
            value = deepcopy(value)  # whoever wrote it may change it
        size = 0 if self.measure is None else self.measure(value)
        return Entry(value, born, windows, tags, size)

    def open(self, entry: Entry) -> object:
        """Return the value, or MISSING if it was dropped meanwhile or has another shape."""
        try:
            value: object = entry.value
            if not self.serialized:
                return value
        except AttributeError:
            return MISSING
        return self.read(value) if isinstance(value, bytes) else MISSING

    def read(self, data: bytes) -> object:
        """Return the value in the bytes of an entry, or MISSING where there is none of its type."""
        try:
            if is_counter(data):
                number = int(data)  # a counter, see CacheProvider.incr
                self.codec.encode(number)  # or another type had the name before
                return number
            return (self._codec or self.codec).decode(data)
        except (AttributeError, UnreadableFrame, NotSerializable, ValueError):
            return MISSING

    def hand_out(self, value: object) -> object:
        """Return what a caller gets: the stored object, or a copy where one was asked for."""
        return deepcopy(value) if self.copies else value

    def try_once(self, value: object, title: str) -> None:
        """Say once, on memory, that a provider that keeps bytes could not store *value*."""
        if self.tried:
            return
        self.tried = True
        try:
            self.codec.try_value(value)
        except NotSerializable as error:
            log.warning("%s: a shared provider could not store this: %s", title, str(error))
