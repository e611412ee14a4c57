"""
A codec: the values of one annotation to bytes and back.

Its two promises: what `encode` accepts, `decode` gives back the same in type
and in value; and `decode` meets any bytes at all with a value or with
`UnreadableFrame`, never with anything else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

from ..errors import InvalidOption, NotSerializable
from .compiler import Compiler, spelled
from .frame import HEAD, fingerprint_of, plain_front, seal, unseal
from .identical import difference
from .lifting import lifter
from .lowering import lowerer
from .native import reader
from .node import TOO_DEEP, Book, Misfit, Node, Walk, full_name
from .plain import pack, unpack
from .unreadable import UnreadableFrame

if TYPE_CHECKING:
    from collections.abc import Callable


class Codec:
    """Turns the values of one type into frames, and frames into values."""

    __slots__ = ("_body", "_compress", "_front", "_load", "_sum", "fingerprint")

    def __init__(self, body: Body, *, compress: bool) -> None:
        self._body = body
        self._compress = compress
        self._load = body.load
        self.fingerprint: bytes = fingerprint_of(body.description)
        self._front, self._sum = plain_front(self.fingerprint)

    def encode(self, value: object) -> bytes:
        """
        The frame for *value*.

        Raises:
            NotSerializable: It would not come back the same; the error names the place.
        """
        return seal(self.fingerprint, self._body.dump(value), compress=self._compress)

    def decode(self, data: bytes) -> object:
        """
        The value in a frame.

        Raises:
            UnreadableFrame: There is none of this type; count it as a miss.
        """
        try:
            if data[:9] == self._front:  # as most: see `unseal`, which does the same
                payload = data[HEAD:]
                if crc32(payload, self._sum).to_bytes(4, "big") == data[9:HEAD]:
                    return self._load(payload)
            return self._load(
                unseal(self.fingerprint, data if type(data) is bytes else bytes(data))
            )
        except UnreadableFrame:
            raise
        except Exception as error:
            # The types are the user's and may raise anything. Whatever it is, there is no
            # value here, and the function can still compute one.
            raise UnreadableFrame(f"{type(error).__name__}: {error}") from error

    def try_value(self, value: object) -> None:
        """
        Store and read *value* for trial.

        Raises:
            NotSerializable: It would not survive.
        """
        try:
            back = self.decode(self.encode(value))
        except UnreadableFrame as error:
            raise NotSerializable(
                f"return: the stored {type(value).__qualname__} cannot be read back: {error}. "
                "Let its class accept its own fields, or give a serializer.",
                "return",
            ) from error
        self._body.compare(value, back)


class Body(ABC):
    """What a codec does inside the frame."""

    description: str

    @abstractmethod
    def dump(self, value: object) -> bytes:
        """
        The payload for *value*.

        Raises:
            NotSerializable: There is none.
        """

    @abstractmethod
    def load(self, payload: bytes) -> object:
        """The value of a payload; it may raise anything."""

    @abstractmethod
    def compare(self, value: object, back: object) -> None:
        """
        Look at a value and at what came back for it.

        Raises:
            NotSerializable: They differ, and should not.
        """


class TypedBody(Body):
    """Plain data by way of nodes, as msgpack."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.description = node.describe(Book())
        self._used: set[str] = set()
        self._lower: Callable[[object], object] | None = None
        self._read: Callable[[bytes], object] | None = None

    def dump(self, value: object) -> bytes:
        lower = self._lower
        if lower is None:
            if self._first("dump"):
                return self._dump(value)
            self._lower = lower = lowerer(self._node)
        try:
            return pack(lower(value))
        except Exception:  # noqa: BLE001  # it is not that simple, or it does not fit: see below
            return self._dump(value)

    def _first(self, use: str) -> bool:
        """Tell whether it is the first *use*: many types have one in all, as a trial on memory."""
        first = use not in self._used
        self._used.add(use)
        return first

    def _dump(self, value: object) -> bytes:
        try:
            return pack(self._node.lower(value, Walk()))
        except Misfit as misfit:
            path, text = misfit.located()
            raise NotSerializable(f"{path}: {text}", path) from misfit.__cause__
        except RecursionError as error:
            raise NotSerializable(f"return: {TOO_DEEP}", "return") from error
        except Exception as error:
            # Fields and dumps run code of the user's.
            raise NotSerializable(
                f"return: {type(value).__qualname__} cannot be stored: "
                f"{type(error).__name__}: {error}. Return something simpler.",
                "return",
            ) from error

    def load(self, payload: bytes) -> object:
        read = self._read
        if read is None:
            if self._first("load"):
                return self._load(payload)
            self._read = read = reader(self._node) or _lifted(self._node)
        try:
            return read(payload)
        except Exception:  # noqa: BLE001  # an odd form, or nothing of ours: see below
            return self._load(payload)

    def _load(self, payload: bytes) -> object:
        return self._node.lift(unpack(payload))

    def compare(self, value: object, back: object) -> None:
        path = difference(value, back)
        if path is not None:
            path = f"return{path}"
            raise NotSerializable(
                f"{path}: this comes back different from what was stored. Keep everything in "
                "annotated fields, or give a serializer.",
                path,
            )


def _lifted(node: Node) -> Callable[[bytes], object]:
    lift = lifter(node)
    return lambda payload: lift(unpack(payload))


class ForeignBody(Body):
    """Bytes of the user's own serializer, which also answers for what comes back."""

    def __init__(self, serializer: object, annotation: object) -> None:
        # Any: two methods that have just been looked at.
        self._serializer: Any = checked_serializer(serializer)
        self.description = f"serializer {_named(serializer)} {_loosely(annotation)}"

    def dump(self, value: object) -> bytes:
        try:
            data = cast("object", self._serializer.encode(value))
        except Exception as error:
            raise NotSerializable(
                f"return: the serializer refused a {type(value).__qualname__}: "
                f"{type(error).__name__}: {error}. Return what it accepts.",
                "return",
            ) from error
        if not isinstance(data, bytes | bytearray):
            raise NotSerializable(
                f"return: the serializer's encode() gave a {type(data).__qualname__}, not bytes. "
                "Let it return bytes.",
                "return",
            )
        return bytes(data)

    def load(self, payload: bytes) -> object:
        return cast("object", self._serializer.decode(payload))

    def compare(self, value: object, back: object) -> None:
        """Nothing: what counts as the same is the serializer's business."""


def checked_serializer(serializer: object) -> object:
    """
    Return the option `serializer=`.

    Raises:
        InvalidOption: It cannot encode, or not decode.
    """
    for method in ("encode", "decode"):
        if not callable(getattr(serializer, method, None)):
            raise InvalidOption(
                f"serializer={serializer!r:.60} has no {method}(). Give an object with "
                "encode(value) -> bytes and decode(data) -> value."
            )
    return serializer


def codec_for(
    annotation: object, *, compress: bool = False, serializer: object | None = None
) -> Codec:
    """
    The codec for the values that *annotation* describes; `UNKNOWN` describes none.

    Raises:
        NotSerializable: No value of that type could ever come back.
        InvalidOption: The serializer is none.
    """
    if serializer is not None:
        return Codec(ForeignBody(serializer, annotation), compress=compress)
    try:
        return Codec(TypedBody(Compiler().node(annotation, "return")), compress=compress)
    except RecursionError as error:
        raise NotSerializable(
            f"return: {spelled(annotation)} grows for ever as it names itself. "
            "Give it an end, or give a serializer.",
            "return",
        ) from error


def _named(serializer: object) -> str:
    if isinstance(serializer, ModuleType):
        return serializer.__name__
    return full_name(serializer if isinstance(serializer, type) else type(serializer))


def _loosely(annotation: object) -> str:
    """A description of any annotation, for it need not be one that nodes can store."""
    try:
        return Compiler(lenient=True).node(annotation, "return").describe(Book())
    except RecursionError:
        return spelled(annotation)
