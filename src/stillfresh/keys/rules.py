"""From the arguments of a call to its key and its tags."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from ..errors import InvalidOption
from ..tags import checked_tags
from .canonical import encode, encode_all
from .templates import KeyTemplate, TagTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..shape import Shape, Values


class KeyRule:
    """
    How a call becomes the text of its key.

    *option* is what the user wrote as `key=`: nothing, a template, or a callable.
    """

    def __init__(self, option: object, shape: Shape, parameters: list[str]) -> None:
        self._shape = shape
        self._template: KeyTemplate | None = None
        self._callable: Callable[..., object] | None = None
        if option is None:
            pass
        elif isinstance(option, str):
            self._template = KeyTemplate(option, parameters)
        elif callable(option) and not inspect.iscoroutinefunction(option):
            self._callable = option
        else:
            msg = f"key={option!r}: expected a template such as 'user:{{user_id}}', or a function."
            raise InvalidOption(msg)
        self.written = option is not None
        """The user wrote the key: in a shared store it is exactly the store's key."""
        self.plain = option is None and shape.simple
        """The key is nothing but the arguments, one after the other."""
        self.quick = self._callable is None and (
            self._template is None or _only_names(self._template, shape.names)
        )
        """The key depends on nothing but the arguments, so the short cut may look by them."""

    def text(self, values: Values, instance: object) -> str:
        """
        Return the key of a call.

        Raises:
            UnstableArgument: An argument has no stable place in a key.
            InvalidOption: The `key=` function returned something else than a str or a tuple.
        """
        if self._template is not None:
            return self._template.render(_named(self._shape, values, instance))
        if self._callable is not None:
            positional = self._shape.positional(values)
            return _own_text(self._callable(*positional, **self._shape.named(values)))
        if self.plain:
            return ",".join(map(encode, values, self._shape.names))
        texts = [encode_all(self._shape.positional(values), self._shape.names)]
        extra = self._shape.named(values)
        texts += [f"{_word(name)}={encode(value, name)}" for name, value in extra.items()]
        return ",".join(text for text in texts if text)

    def pattern(self) -> str | None:
        """Return a pattern that every key of a template matches, None where there is none."""
        if self._template is None:
            return None
        return self._template.pattern()


class TagRule:
    """
    How a call and its result become tags.

    *option* is what the user wrote as `tags=`: names, templates, or a callable of the value
    and the arguments.
    """

    def __init__(self, option: object, shape: Shape, parameters: list[str]) -> None:
        self._shape = shape
        self._fixed: frozenset[str] = frozenset()
        self._templates: list[TagTemplate] = []
        self._callable: Callable[..., object] | None = None
        if option is None:
            return
        if callable(option):
            if inspect.iscoroutinefunction(option):
                msg = f"tags={option!r}: expected a plain function, this one is async."
                raise InvalidOption(msg)
            self._callable = option
            return
        names = checked_tags(option, "tags")
        templates = [TagTemplate(name, parameters) for name in sorted(names)]
        self._templates = [template for template in templates if template.names]
        self._fixed = frozenset(template.render({}) for template in templates if not template.names)

    @property
    def any(self) -> bool:
        """There may be tags."""
        return bool(self._fixed or self._templates or self._callable)

    @property
    def fixed(self) -> frozenset[str] | None:
        """The tags of all calls, where they are the same for all."""
        return None if self._templates or self._callable else self._fixed

    def early(self, values: Values, instance: object) -> frozenset[str]:
        """Return the tags that are known before the computation."""
        if not self._templates:
            return self._fixed
        arguments = _named(self._shape, values, instance)
        return self._fixed | {template.render(arguments) for template in self._templates}

    def late(self, values: Values) -> Callable[[object], frozenset[str]] | None:
        """Return what gives the tags that depend on the value, if any do."""
        function = self._callable
        if function is None:
            return None
        arguments, extra = self._shape.positional(values), self._shape.named(values)
        return lambda value: checked_tags(
            function(value, *arguments, **extra), "what tags= returned"
        )


def vary_text(sources: tuple[Callable[[], object], ...]) -> str:
    """Return what the varying values add to the end of a key."""
    if not sources:
        return ""
    return "|" + encode_all([source() for source in sources], ["vary"] * len(sources))


def _named(shape: Shape, values: Values, instance: object) -> Mapping[str, object]:
    arguments: dict[str, object] = dict(zip(shape.names, values, strict=True))
    if shape.first:
        arguments[shape.first] = instance
    return arguments


def _word(name: str) -> str:
    # **{"a=1,b": 2} is a call, too, and not the one with a and b.
    return name if name.isidentifier() else encode(name)


def _only_names(template: KeyTemplate, names: list[str]) -> bool:
    return all(place in names for place in template.places)


def _own_text(answer: object) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, tuple):
        return encode_all(cast("tuple[object, ...]", answer))
    msg = (
        f"key=: the function returned {answer!r}. Expected a str, taken as it is, or a tuple, "
        "encoded like arguments."
    )
    raise InvalidOption(msg)
