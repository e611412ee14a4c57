"""
Run the Python blocks of the documents: what they show is what works.

The blocks of one document run in order, as one module and in one event loop, and
may `await` at the top level. A block that readers need not see stands in an HTML
comment: `<!--- invisible-code-block: python ... -->`.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import re
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from sybil import Example, Sybil
from sybil.evaluators.python import pad
from sybil.parsers.markdown import CodeBlockParser, SkipParser


def document_opens(namespace: dict[str, Any]) -> None:
    """Give the document its event loop. Sybil's namespace holds that and the module."""
    namespace["runner"] = asyncio.Runner()


def document_closes(namespace: dict[str, Any]) -> None:
    """End the loop with whatever still runs on it, and forget the module."""
    namespace["runner"].close()
    if "module" in namespace:
        del sys.modules[namespace["module"].__name__]


def evaluate(example: Example) -> None:
    """Run one block, with the lines of its document in tracebacks."""
    if "module" not in example.namespace:
        example.namespace["module"] = module_of(Path(example.path))
    module = example.namespace["module"]
    source = pad(example.parsed, example.line + example.parsed.line_offset)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(source, example.path, "exec", flags, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        example.namespace["runner"].run(call(code, module))
    else:
        exec(code, vars(module))


async def call(code: CodeType, module: ModuleType) -> None:
    """Await a block that awaits; called with the module's own globals."""
    await FunctionType(code, vars(module))()


def module_of(path: Path) -> ModuleType:
    """Make the document a module: annotations and pickles look their names up in one."""
    place = path.relative_to(Path(__file__).parent).with_suffix("")
    name = re.sub(r"\W", "_", f"document_{place}")
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(path)
    vars(module)["__builtins__"] = builtins  # exec() would see to it, a function does not
    return module


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser(language="python", evaluator=evaluate), SkipParser()],
    pattern="*.md",  # those that pytest is told to collect: testpaths in pyproject.toml
    setup=document_opens,
    teardown=document_closes,
).pytest()
