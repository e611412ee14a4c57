"""From the arguments of a call to its key and its tags."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final, cast

from ..errors import InvalidOption
from ..tags import checked_tags
from .canonical import encode, encode_all
from .templates import KeyTemplate, TagTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..shape import Shape, Values

_BY_POSITION: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


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
            self._told = told(option, shape, "key")
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

    def check(self, title: str) -> None:
        """
        Look whether the `key=` function can be called with the arguments of *title*.

        Raises:
            InvalidOption: It cannot.
        """
        if self._callable is not None:
            _check_fit("key", self._callable, self._told, self._shape, title)

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
            args, kwargs = self._told(values)
            return _own_text(self._callable(*args, **kwargs))
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
            self._told = told(option, shape, "tags", after=1)
            return
        names = checked_tags(option, "tags")
        templates = [TagTemplate(name, parameters) for name in sorted(names)]
        self._templates = [template for template in templates if template.names]
        self._fixed = frozenset(template.render({}) for template in templates if not template.names)

    def check(self, title: str) -> None:
        """
        Look whether the `tags=` function can be called with a value and the arguments of *title*.

        Raises:
            InvalidOption: It cannot.
        """
        if self._callable is not None:
            _check_fit("tags", self._callable, self._told, self._shape, title, value=True)

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
        args, kwargs = self._told(values)
        return lambda value: checked_tags(function(value, *args, **kwargs), "what tags= returned")


def told(
    option: Callable[..., object], shape: Shape, word: str, after: int = 0
) -> Callable[[Values], tuple[Values, dict[str, object]]]:
    """
    Return what makes of a call the arguments for *option*, a callable of the user's.

    They are passed as the function takes them: by name what it takes by name only. To one that
    does not know these names they come by position, in the order of the signature. *after* is how
    many arguments stand in front of them.

    Raises:
        InvalidOption: It knows some of the names, and would get others' values under them.
    """
    if shape.by_position:
        return lambda values: (values, {})
    kinds = [parameter.kind for parameter in shape.parameters]
    only = [each.name for each in shape.parameters if each.kind is each.KEYWORD_ONLY]
    try:
        own = list(inspect.signature(option).parameters.values()) if only else []
    except (TypeError, ValueError):  # it is written in C, and says nothing
        own = []
    after += sum(kind in _BY_POSITION for kind in kinds)
    places = [each for each in own if each.kind in _BY_POSITION][after:]
    known = {each.name for each in places if each.kind is not each.POSITIONAL_ONLY}
    known |= {each.name for each in own if each.kind is each.KEYWORD_ONLY}
    if known.issuperset(only) or any(each.kind is each.VAR_KEYWORD for each in own):
        return shape.by_name
    in_place = {name for name, each in zip(only, places, strict=False) if each.name == name}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        in_place = set()  # nobody knows how many stand in front
    wrong = [name for name in only if name in known - in_place]
    if wrong:
        missing = next(name for name in only if name not in known)
        msg = (
            f"{word}={option!r}: it has {wrong[0]!r}, which comes by name, but not {missing!r}. "
            f"Take all of {', '.join(only)} under these names, or **kwargs."
        )
        raise InvalidOption(msg)
    return lambda values: (shape.positional(values), shape.named(values))


def _check_fit(
    word: str,
    option: Callable[..., object],
    told_as: Callable[[Values], tuple[Values, dict[str, object]]],
    shape: Shape,
    title: str,
    *,
    value: bool = False,
) -> None:
    samples: dict[object, object] = {
        inspect.Parameter.VAR_POSITIONAL: (None,),
        inspect.Parameter.VAR_KEYWORD: {},
    }
    args, kwargs = told_as(tuple(samples.get(each.kind) for each in shape.parameters))
    try:
        # A decorator above it may give it more: what is called says itself what it takes.
        signature = inspect.signature(option, follow_wrapped=False)
    except (TypeError, ValueError):  # it is written in C, and says nothing
        return
    # Nobody knows how many there are of what stars take.
    bind = signature.bind if shape.simple else signature.bind_partial
    try:
        bind(*([None] if value else []), *args, **kwargs)
    except TypeError as error:
        bare = [
            each.replace(annotation=each.empty, default=each.empty) for each in shape.parameters
        ]
        takes = str(inspect.Signature(bare))[1:-1]
        if value:
            takes = f"value, {takes}" if takes else "value"
        result = "the value, then the arguments" if value else "the arguments"
        msg = (
            f"{word}={option!r} of {title}: it is called with {result}, and takes {signature}: "
            f"{error}. Write {word}=lambda {takes}: ..., or a template."
        )
        raise InvalidOption(msg) from None


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
