"""The shape of the package: who may import whom, how long a file may be, what an import costs."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePath

import pytest

import stillfresh

# A file imports from lower floors, or from its own where that makes no circle. The name is a module
# of the package or a folder; a longer one ("providers.redis") wins over the folder's.
FLOORS = {
    # 0: words
    "errors": 0,
    "clock": 0,
    "durations": 0,
    "forks": 0,
    "known": 0,
    "names": 0,
    # 1: pure values, no I/O and no await
    "entry": 1,
    "keys": 1,
    "codecs": 1,
    "tags": 1,
    "events": 1,
    "shape": 1,
    # 2: machinery
    "singleflight": 2,
    "options": 2,
    "computing": 2,
    "providers": 2,
    "services": 2,
    "app": 2,
    "entries": 2,
    # 3: the path
    "leading": 3,
    "readthrough": 3,
    "nearby": 3,
    # 4: Cache, Cached, the decorator
    "sources": 4,
    "caching": 4,
    # 5: outward
    "sync": 5,
    "http": 5,
    "testing": 5,
}
LONGEST_FILE = 420
LEFT_TO_WHO_ASKS = {
    "attr",
    "attrs",
    "fastapi",
    "http_sf",
    "pydantic",
    "redis",
    "starlette",
}
# Parts of the standard library that took a third of the import, and are needed by few, or late.
LEFT_TO_LATER = {"difflib", "fractions", "hashlib", "json", "pathlib", "random", "zlib", "zoneinfo"}

PACKAGE = Path(__file__).parent.parent / "src" / "stillfresh"
ROOT = "stillfresh"
FRONT_DOOR = "__init__.py"


def read_package() -> dict[str, str]:
    return {str(p.relative_to(PACKAGE)): p.read_text("utf-8") for p in PACKAGE.rglob("*.py")}


def module_name(path: str) -> str:
    """`codecs/__init__.py` is stillfresh.codecs, `codecs/json.py` is stillfresh.codecs.json."""
    parts = PurePath(path).with_suffix("").parts
    return ".".join((ROOT, *parts[: -1 if parts[-1] == "__init__" else None]))


def resolve(name: str, path: str) -> str:
    """Make a relative name such as `..errors`, written in the file *path*, absolute."""
    bare = name.lstrip(".")
    if bare == name:
        return name
    folder = (ROOT, *PurePath(path).parent.parts)
    return ".".join([*folder[: len(folder) - (len(name) - len(bare)) + 1], *filter(None, [bare])])


def imported(path: str, source: str, modules: set[str]) -> list[tuple[int, str]]:
    """All imports from this package in *source*: line and module, wherever they are written."""
    found = []
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            # `import stillfresh.errors` binds `stillfresh`: it goes through the root.
            names = [a.name if a.asname else a.name.partition(".")[0] for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = resolve("." * node.level + (node.module or ""), path)
            inside = [f"{origin}.{alias.name}" for alias in node.names]
            names = [ROOT] if origin == ROOT else [i if i in modules else origin for i in inside]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            texts = (a.value for a in node.args[:1] if isinstance(a, ast.Constant))
            names = [resolve(text, path) for text in texts if isinstance(text, str)]
        else:
            continue
        found += [(node.lineno, n) for n in names if n == ROOT or n.startswith(ROOT + ".")]
    return found


def floor(module: str) -> int:
    name = module.removeprefix(ROOT + ".")
    while name not in FLOORS and "." in name:
        name = name.rpartition(".")[0]
    if name not in FLOORS:
        message = f"{module} has no floor: add {name!r} to FLOORS in {Path(__file__).name}"
        raise LookupError(message)
    return FLOORS[name]


def faults(sources: dict[str, str]) -> list[str]:
    """Every import that breaks a rule. *sources* maps a path in the package to its text."""
    modules = {module_name(path) for path in sources}
    graph: dict[str, set[str]] = {}
    complaints = []
    for path, source in sorted(sources.items()):
        if path == FRONT_DOOR:
            continue
        here = module_name(path)
        for line, target in imported(path, source, modules):
            where = f"{path}:{line}"
            if target == ROOT:
                complaints.append(f"{where} imports through the package root: name the module")
            elif floor(target) > floor(here):
                complaints.append(
                    f"{where} imports up: {here} is on floor {floor(here)}, {target} on {floor(target)}"
                )
            else:
                graph.setdefault(here, set()).add(target)
        floor(here)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        complaints.append("circle of imports: " + " -> ".join(reversed(error.args[1])))
    return complaints


def test_imports_go_down():
    """No file imports up, in a circle or through the root, type-only and late imports included."""
    assert faults(read_package()) == []


def test_every_file_is_short_enough_to_read():
    """No file of the package is much over 400 lines."""
    lengths = {path: len(source.splitlines()) for path, source in read_package().items()}
    assert {path: n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_every_file_is_on_the_page_about_the_code():
    """Whoever looks for something finds each module named in ARCHITECTURE.md."""
    page = (PACKAGE.parent.parent / "ARCHITECTURE.md").read_text("utf-8")
    named = {word for code in re.findall(r"`[^`\n]+`", page) for word in re.findall(r"\w+", code)}
    paths = (PurePath(path) for path in read_package())
    assert [str(one) for one in paths if one.stem not in {*named, "__init__"}] == []


def test_import_is_light():
    """`import stillfresh` loads nothing that only some users need, and no codec before the first."""
    program = (
        "import sys, asyncio, dataclasses, inspect, msgspec; before = set(sys.modules); "
        "import stillfresh; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    loaded = set(done.stdout.split())
    assert loaded & (LEFT_TO_WHO_ASKS | LEFT_TO_LATER) == set()
    assert "stillfresh.codecs.compiler" not in loaded


def test_the_installed_package_is_the_one_checked():
    """The tests import the files that these checks read."""
    assert Path(stillfresh.__file__).parent == PACKAGE


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("entry.py", "from .caching import Cache", "entry.py:1 imports up"),
        ("entry.py", "from stillfresh.caching import Cache", "imports up"),
        ("entry.py", "import stillfresh.caching as c", "imports up"),
        ("entry.py", "def f():\n    from .caching import Cache", "entry.py:2 imports up"),
        ("entry.py", "if TYPE_CHECKING:\n    from .caching import Cache", "entry.py:2 imports up"),
        ("entry.py", "import_module('stillfresh.caching')", "imports up"),
        ("entry.py", "importlib.import_module('.caching', __package__)", "imports up"),
        ("providers/base.py", "from ..readthrough import look", "imports up"),
        ("providers/base.py", "from ..http.key import Key", "imports up"),
        ("providers/__init__.py", "from ..http import key", "imports up"),
        ("caching.py", "import stillfresh", "through the package root"),
        ("caching.py", "import stillfresh.errors", "through the package root"),
        ("caching.py", "from stillfresh import errors", "through the package root"),
        ("caching.py", "from . import errors", "through the package root"),
        ("providers/base.py", "from .. import errors", "through the package root"),
    ],
)
def test_forbidden_imports_are_found(path, source, complaint):
    """Each way to write a wrong import is seen, at its line."""
    (found,) = faults({path: source})
    assert complaint in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from .caching import Cache"),
        ("caching.py", "from .errors import InvalidOption"),
        ("caching.py", "from .sources.wrapping import generated"),
        ("caching.py", "from stillfresh.errors import InvalidOption"),
        ("caching.py", "import stillfresh.errors as errors"),
        ("caching.py", "import json, msgspec\nfrom collections import abc"),
        ("providers/__init__.py", "from . import base"),
        ("providers/memory.py", "from .base import CacheProvider"),
        ("codecs/deep/er.py", "from ...errors import NotSerializable"),
    ],
)
def test_allowed_imports_pass(path, source):
    """Down, sideways, within a folder, and anything for the front door."""
    assert faults({"providers/base.py": "", path: source}) == []


def test_circles_are_found():
    """Two files of one floor may not need each other, not even for types."""
    sources = {
        "providers/base.py": "from . import memory",
        "providers/memory.py": "def f():\n    from .base import CacheProvider",
    }
    (found,) = faults(sources)
    assert "stillfresh.providers.base -> stillfresh.providers.memory" in found


def test_unknown_modules_are_pointed_to_the_table():
    """A new file must be given its floor."""
    with pytest.raises(LookupError, match=r"add 'sidecar' to FLOORS in test_floors\.py"):
        faults({"sidecar.py": ""})
