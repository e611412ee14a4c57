"""
The shape of a function: its parameters, and wrappers that have exactly the same ones.

A wrapper is generated once per function. For `async def product(self, product_id, lang="en")`,
bound to a service, with `product_id: int`, it reads

    async def product(product_id, lang=...):
        try:
            if _type(product_id) is _int:
                _e = _index[(_type(lang), product_id, lang)]
                if _now() < _e.quick_until:
                    _e.visits += 1
                    return _e.value
        except _Exception:
            pass
        _v, _a = await _slow((product_id, lang))
        return _v if _a is None else _a.unwrap()

That is the short cut: one look-up in a plain dictionary in front of the path. The interpreter
itself puts positional, keyword and default forms of a call into the same variables. A class
stands beside its value where an equal value of another class would be found instead: 1, 1.0
and True are equal and are three keys. It is the true class: `__class__` may say anything. The
look-up may run the `__hash__` of an argument, so whatever it raises is a miss. See
docs/decisions/0002.
"""

from __future__ import annotations

import inspect
import linecache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from .keys.canonical import KEY_SAFE_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_GUARDED: Final = (str, int, bytes, bool, float)
_NAMED: Final = {kind.__name__: kind for kind in _GUARDED}

Values = tuple[object, ...]
"""The arguments of one call, in the order of the signature, defaults filled in."""

_PLAIN = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


class Shape:
    """
    The parameters of *function*, without the first one where the caller does not pass it.

    *skip_first* says so: `self` of a method, `cls` of a class method.
    """

    def __init__(self, function: Callable[..., object], *, skip_first: bool) -> None:
        self.function = function
        whole = inspect.signature(function)
        parameters = list(whole.parameters.values())
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self.first = ""
        if skip_first and parameters and parameters[0].kind in positional:
            self.first = parameters.pop(0).name
        self.parameters = parameters
        self.names = [parameter.name for parameter in parameters]
        self.signature = whole.replace(parameters=parameters)
        self.is_async = inspect.iscoroutinefunction(function)
        self._prefix = "_"
        while any(name.startswith(self._prefix) for name in [*self.names, self.first]):
            self._prefix += "_"
        self._guards = [_guard(parameter.annotation) for parameter in parameters]
        self.simple = all(parameter.kind in _PLAIN for parameter in parameters)
        """No *args or **kwargs: the short cut can be taken."""
        self.only_type: type | None = None
        """The class of the only argument that has its value for a key in the short-cut index."""
        if self.simple and len(parameters) == 1 and self._guards[0] is not float:
            self.only_type = self._guards[0]
        self.by_position = self.simple and not any(
            parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters
        )
        """The function can be called with the values, one after the other."""
        self._bind: Callable[..., Values] | None = None

    def annotations(self) -> dict[str, Any]:
        """Return the function's annotations, without that of the first parameter it skips."""
        whole: dict[str, Any] = getattr(self.function, "__annotations__", {})
        return {name: annotation for name, annotation in whole.items() if name != self.first}

    # From a call to values, and back

    def bind(self, args: Values, kwargs: Mapping[str, object]) -> Values:
        """
        Return the values of a call.

        Raises:
            TypeError: The function could not be called like that.
        """
        if self._bind is None:
            body = f"    return {self._tuple(self.names)}\n"
            self._bind = cast("Callable[..., Values]", self._function(body, {}, is_async=False))
        return self._bind(*args, **kwargs)

    def call(self, values: Values, first: Values = ()) -> object:
        """Call the function with *values*; *first* is what `self` or `cls` is, if anything."""
        if self.by_position:
            return self.function(*first, *values)
        args: list[object] = list(first)
        kwargs: dict[str, object] = {}
        for parameter, value in zip(self.parameters, values, strict=True):
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += cast("Values", value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs |= cast("dict[str, object]", value)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        return self.function(*args, **kwargs)

    def positional(self, values: Values) -> Values:
        """Return *values* one after the other, without those that `named` returns."""
        if self.simple:
            return values
        flat: list[object] = []
        for parameter, value in zip(self.parameters, values, strict=True):
            if parameter.kind is parameter.VAR_POSITIONAL:
                flat += cast("Values", value)
            elif parameter.kind is not parameter.VAR_KEYWORD:
                flat.append(value)
        return tuple(flat)

    def named(self, values: Values) -> dict[str, object]:
        """Return what was passed by names that the signature does not know, sorted."""
        if self.parameters and self.parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
            return dict(sorted(cast("dict[str, object]", values[-1]).items()))
        return {}

    def by_name(self, values: Values) -> tuple[Values, dict[str, object]]:
        """Return *values* for a callable that takes them as the function itself does."""
        by_position: list[object] = []
        by_name: dict[str, object] = {}
        for parameter, value in zip(self.parameters, values, strict=True):
            if parameter.kind is parameter.VAR_POSITIONAL:
                by_position += cast("Values", value)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                by_name[parameter.name] = value
            elif parameter.kind is not parameter.VAR_KEYWORD:
                by_position.append(value)
        return tuple(by_position), by_name | self.named(values)

    def quick_key(self, values: Values) -> object:
        """Return the key in the short-cut index, or None where the values do not allow it."""
        if not self.simple:
            return None
        classes: list[object] = []
        for guard, value in zip(self._guards, values, strict=True):
            kind = type(value)
            if kind is float:
                if not value:  # 0.0 and -0.0 are equal and are two keys
                    return None
            elif kind not in KEY_SAFE_TYPES:
                return None
            if guard is None:
                classes.append(kind)
            elif kind is not guard:
                return None
        members = (*classes, *values)
        return members[0] if len(members) == 1 else members

    # Wrappers

    def wrapper(self, scope: dict[str, object], *, quick: bool, tagged: bool) -> FunctionType:
        """
        Make a function with these parameters that asks the short cut, then `_slow`: for a value,
        or where it is async for a value and an answer to unwrap.

        *scope* becomes its globals; the names in it are `index`, `now`, `book` and `slow`,
        as `name` spells them. So is `shortcut`, which no line reads: the wrapper keeps it alive.
        """
        p = self._prefix
        lines: list[str] = []
        if quick and self.simple:
            tests = self._tests()
            pad = " " * (12 if tests else 8)
            lines.append("    try:")
            if tests:
                lines.append(f"        if {' and '.join(tests)}:")
            valid = f"{p}now() < {p}e.quick_until"
            if tagged:
                valid += f" and {p}e.kind.epoch == {p}book.epoch"
            lines += [
                f"{pad}{p}e = {p}index[{self._quick_expression()}]",
                f"{pad}if {valid}:",
                f"{pad}    {p}e.visits += 1",
                f"{pad}    return {p}e.value",
                f"    except {p}Exception:",
                "        pass",
            ]
        slow = f"{p}slow({self._tuple(self.names)})"
        if self.is_async:
            lines.append(f"    {p}v, {p}a = await {slow}")
            lines.append(f"    return {p}v if {p}a is None else {p}a.unwrap()")
        else:
            lines.append(f"    return {slow}")
        scope |= {**self.guards(), f"{p}type": type, f"{p}Exception": Exception}
        return self._function("\n".join(lines) + "\n", scope, is_async=self.is_async)

    def guards(self) -> dict[str, object]:
        """Return the classes with which a wrapper compares those of arguments, by their names."""
        return {self.name(kind.__name__): kind for kind in _GUARDED}

    def name(self, word: str) -> str:
        """Spell a name of the scope of the wrapper so that no parameter hides it."""
        return self._prefix + word

    def _tests(self) -> list[str]:
        tests: list[str] = []
        for name, guard in zip(self.names, self._guards, strict=True):
            if guard is not None:
                tests.append(f"{self._prefix}type({name}) is {self._prefix}{guard.__name__}")
                if guard is float:
                    tests.append(name)
        return tests

    def _quick_expression(self) -> str:
        members = [
            f"{self._prefix}type({name})"
            for name, guard in zip(self.names, self._guards, strict=True)
            if guard is None
        ]
        members += self.names
        return members[0] if len(members) == 1 else f"({', '.join(members)})"

    def _function(self, body: str, scope: dict[str, object], *, is_async: bool) -> FunctionType:
        word = "async def" if is_async else "def"
        source = f"{word} wrapper({self._parameter_list()}):\n{body}"
        qualname = self.function.__qualname__
        what = "call" if scope else "arguments"  # two texts, which tracebacks tell apart
        filename = f"<stillfresh: {what} of {self.function.__module__}.{qualname}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        code = next(
            constant
            for constant in compile(source, filename, "exec").co_consts
            if isinstance(constant, CodeType)
        )
        name = self.function.__name__
        code = code.replace(co_name=name, co_qualname=qualname)
        function = FunctionType(code, scope, name)
        kept = self.parameters
        function.__defaults__ = (
            tuple(
                parameter.default
                for parameter in kept
                if parameter.default is not parameter.empty
                and parameter.kind is not parameter.KEYWORD_ONLY
            )
            or None
        )
        function.__kwdefaults__ = {
            parameter.name: parameter.default
            for parameter in kept
            if parameter.default is not parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
        }
        return function

    def _parameter_list(self) -> str:
        text: list[str] = []
        parameters = self.parameters
        starred = False
        for index, parameter in enumerate(parameters):
            if parameter.kind is parameter.KEYWORD_ONLY and not starred:
                text.append("*")
                starred = True
            default = "" if parameter.default is parameter.empty else "=None"
            mark = ""
            if parameter.kind is parameter.VAR_POSITIONAL:
                mark, starred = "*", True
            elif parameter.kind is parameter.VAR_KEYWORD:
                mark = "**"
            text.append(f"{mark}{parameter.name}{default}")
            if parameter.kind is parameter.POSITIONAL_ONLY and (
                index + 1 == len(parameters)
                or parameters[index + 1].kind is not parameter.POSITIONAL_ONLY
            ):
                text.append("/")
        return ", ".join(text)

    @staticmethod
    def _tuple(names: list[str]) -> str:
        return f"({', '.join(names)},)" if names else "()"


def dress(wrapper: FunctionType, shape: Shape, wrapped: object) -> None:
    """Let *wrapper* look like the user's function: names, documentation, annotations."""
    original = cast("Any", shape.function)
    wrapper.__dict__.update(original.__dict__)  # what other decorators have left there
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(wrapper, name, getattr(original, name, None))
    wrapper.__annotations__ = shape.annotations()
    if getattr(original, "__isabstractmethod__", False):
        cast("Any", wrapper).__isabstractmethod__ = True
    if hasattr(original, "__type_params__"):
        cast("Any", wrapper).__type_params__ = original.__type_params__
    cast("Any", wrapper).__wrapped__ = wrapped
    cast("Any", wrapper).__signature__ = shape.signature


def _guard(annotation: object) -> type | None:
    if isinstance(annotation, str):
        return _NAMED.get(annotation)
    return next((kind for kind in _GUARDED if annotation is kind), None)
