"""Who may import whom, which calls are never made, how long a file may get. Reads source only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "fuxictr_loopfm"
MAX_LINES = 350

# room: the other rooms it may import, under TYPE_CHECKING too. The stages meet at the store, never
# in code. docs/architecture.md draws the same as a picture.
_STAGE = {"errors", "files", "spec", "prepared", "store"}
_CONFIG = _STAGE | {
    "registry",
    "structuring",
    "layers",
    "compression",
    "alignment",
    "distillation",
    "data",
    "tables",
}
_PIPELINE = _CONFIG | {"analysis", "config", "host", "extraction", "engine"}
_RUNS = _PIPELINE | {"records", "pipeline", "exits"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "exits": {"errors"},
    "engine": {"errors"},
    "registry": {"errors"},
    "files": {"errors"},
    "spec": {"errors"},
    "prepared": {"errors", "files", "spec"},
    "store": {"errors", "files", "spec", "prepared"},
    "extraction": _STAGE,
    "compression": _STAGE | {"registry"},
    "alignment": {"errors", "registry", "compression"},
    "structuring": _STAGE,
    "tables": {"errors"},
    "layers": {"errors", "registry"},
    "distillation": {"errors", "registry"},
    "analysis": {"errors"},
    "records": {"errors", "files"},
    "data": _STAGE | {"compression", "layers"},
    "config": _CONFIG,
    "host": _CONFIG | {"config", "analysis", "tables"},
    "pipeline": _PIPELINE,
    "runs": _RUNS,
    "tuning": _PIPELINE | {"pipeline"},
    "upkeep": _RUNS | {"runs"},
    "evidence": _RUNS | {"runs", "tuning"},
    "commands": _RUNS | {"runs", "tuning", "upkeep", "evidence"},
    "__main__": {"commands"},
}
# library: the modules that may import it, as prefixes of dotted names inside the package.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "h5py": ("store.", "prepared.columns_io", "files.plain_h5"),
    "fuxictr": ("host.", "data.encode", "data.processor"),
    # Loops that numpy cannot say without a pass per step or per resample.
    "numba": ("tables.kernels", "analysis.weighted_auc"),
    "torch": (
        "layers.",
        "tables.",
        "extraction.",
        "alignment.",
        "compression.autoencoder",
        "compression.compressor",
        "compression.controls",
        "compression.saved_weights",
        "compression.standardizer",
        "data.",
        "host.",
        "distillation.",
        "config.",
        "pipeline.",
        "runs.",
    ),
}
TORCH_FREE = (
    "errors",
    "exits",
    "files.",
    "spec",
    "prepared.",
    "store.",
    "structuring.",
    "records.",
    "analysis.",
    "compression.quantizer",
)
# No room is where everything lands: a new one is made before.
MOST_OF_THE_PACKAGE = 0.15
OUTSIDE = ("model_zoo", "benchmark_configs", "data_prep", "tests")

_PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
_SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}


def package_modules() -> dict[str, ast.Module]:
    """Parsed source by dotted name inside the package; a folder's ``__init__`` has its own name."""
    folder = ROOT / PACKAGE
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        modules[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return modules


def room_of(module: str) -> str:
    """``store.h5`` is in the room ``store``; a module at the root is a room of its own."""
    return module.split(".")[0]


def imported_names(tree: ast.Module, at_import_time: bool = False) -> Iterator[str]:
    """Dotted names of all imports; ``from a import b`` gives ``a`` and ``a.b``.

    A relative import keeps its leading dots. With ``at_import_time`` those inside functions and
    under ``TYPE_CHECKING`` are left out.
    """
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)
        if at_import_time:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                pending.extend(node.orelse)
                continue
        pending.extend(ast.iter_child_nodes(node))


def own_imports(
    modules: dict[str, ast.Module], name: str, at_import_time: bool = False
) -> set[str]:
    """Modules of the package that ``name`` imports; importing ``a.b`` also runs ``a.__init__``.

    The packages that ``name`` itself lies in do not count: they are being imported already.
    """
    found: set[str] = set()
    for full in imported_names(modules[name], at_import_time):
        head, _, inner = full.partition(".")
        if head != PACKAGE:
            continue
        parts = inner.split(".") if inner else []
        for depth in range(len(parts) + 1):
            dotted = ".".join(parts[:depth])
            candidates = {dotted, f"{dotted}.__init__".lstrip(".")}
            found |= candidates & modules.keys()
    return found - parents(name) - {name}


def parents(name: str) -> set[str]:
    """``a.__init__`` and the package's own for ``a.b``: what runs before the module itself."""
    parts = name.split(".")[:-1]
    return {"__init__", *(".".join([*parts[:d], "__init__"]) for d in range(1, len(parts) + 1))}


def matches(module: str, prefixes: tuple[str, ...]) -> bool:
    """True if ``module`` is one of ``prefixes``, or lies below one that ends in a dot."""
    return any(
        module.startswith(prefix) if prefix.endswith(".") else module == prefix
        for prefix in prefixes
    )


MODULES = package_modules()


@pytest.mark.parametrize("name", [n for n in MODULES if n != "__init__"])
def test_imports_point_downwards(name: str) -> None:
    room = room_of(name)
    assert room in ALLOWED, (
        f"{name}: no room of that name; put the file into one of {sorted(ALLOWED)}, or give the "
        "new room its place in ALLOWED and in docs/architecture.md"
    )
    imported = {room_of(other) for other in own_imports(MODULES, name)} - {room, "__init__"}
    strangers = sorted(imported - ALLOWED[room])
    fitting = [other for other in ALLOWED if imported <= ALLOWED[other] | {other}]
    assert not strangers, f"{name} imports {strangers}, which {room} may not; it fits {fitting}"


def test_no_room_holds_most_of_the_package() -> None:
    lines: dict[str, int] = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        room = room_of(".".join(path.relative_to(ROOT / PACKAGE).with_suffix("").parts))
        lines[room] = lines.get(room, 0) + len(path.read_text(encoding="utf-8").splitlines())
    largest = max(lines, key=lambda room: lines[room])
    share = lines[largest] / sum(lines.values())
    assert share <= MOST_OF_THE_PACKAGE, f"{largest} holds {share:.1%} of the lines: split it"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_where_it_belongs(library: str) -> None:
    users = {
        name
        for name, tree in MODULES.items()
        if any(full.split(".")[0] == library for full in imported_names(tree))
    }
    assert users, f"nothing imports {library}: the rule is out of date"
    strangers = {name for name in users if not matches(name, LIBRARIES[library])}
    assert not strangers, f"{library} is imported in {sorted(strangers)}"


def test_data_code_loads_no_torch_even_indirectly() -> None:
    heavy = {
        name
        for name, tree in MODULES.items()
        if {full.split(".")[0] for full in imported_names(tree, True)} & {"torch", "fuxictr"}
    }
    for name in (n for n in MODULES if matches(n, TORCH_FREE)):
        reached = {name} | parents(name)
        pending = sorted(reached)
        while pending:
            new = own_imports(MODULES, pending.pop(), at_import_time=True) - reached
            reached |= new
            pending.extend(new)
        assert not reached & heavy, f"{name} loads torch through {sorted(reached & heavy)}"


def test_no_import_cycles() -> None:
    # A circle that only type checkers see is one for readers, too.
    waiting = {name: own_imports(MODULES, name) for name in MODULES}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    assert not waiting, f"import cycle among {sorted(waiting)}"


@pytest.mark.parametrize("name", MODULES)
def test_the_package_needs_nothing_of_the_checkout(name: str) -> None:
    heads = {full.split(".")[0] for full in imported_names(MODULES[name])}
    assert "" not in heads, "a relative import; the package uses full names"
    assert not heads & set(OUTSIDE)


def source_files() -> list[Path]:
    """Python files of the product; tests are free to be longer and to break rules on purpose."""
    folders = (PACKAGE, "data_prep", "model_zoo")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [*files, ROOT / "setup.py"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", source_files(), ids=relative)
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < MAX_LINES, f"{lines} lines: find a seam and split the file"


def unsafe_calls(tree: ast.Module) -> list[str]:
    """What could run code hidden in data: pickles, eval, exec, unsafe YAML, torch, numpy loads."""
    loaders = _SAFE_LOADERS | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).split(".")[-1] in _SAFE_LOADERS for base in node.bases)
    }
    problems = [
        f"imports {full}" for full in imported_names(tree) if full.split(".")[0] in _PICKLES
    ]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        problem = _problem_of(call, loaders)
        if problem:
            problems.append(f"line {call.lineno}: {problem}")
    return problems


def _problem_of(call: ast.Call, safe_loaders: set[str]) -> str | None:
    name = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in {"eval", "exec", "compile", "__import__"}:
        return f"calls {name}"
    if name.split(".")[-1] in {"read_pickle", "to_pickle", "unsafe_load", "full_load"}:
        return f"calls {name}"
    if name in {"yaml.load", "yaml.load_all"}:
        loader = options.get("Loader") or (ast.unparse(call.args[1]) if call.args[1:] else "none")
        return None if loader.split(".")[-1] in safe_loaders else f"{name} with Loader={loader}"
    if name == "torch.load" and options.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    return "allow_pickle" if options.get("allow_pickle", "False") != "False" else None


@pytest.mark.parametrize("path", source_files(), ids=relative)
def test_data_is_never_run_as_code(path: Path) -> None:
    assert unsafe_calls(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "is_safe"),
    [
        ("import pickle", False),
        ("from joblib import load", False),
        ("eval('1')", False),
        ("model.eval()", True),
        ("import yaml\nyaml.load(stream)", False),
        ("import yaml\nyaml.load(stream, Loader=yaml.FullLoader)", False),
        ("import yaml\nyaml.load(stream, yaml.UnsafeLoader)", False),
        ("import yaml\nyaml.load(stream, Loader=yaml.SafeLoader)", True),
        ("import yaml\nyaml.safe_load(stream)", True),
        ("class L(yaml.SafeLoader): pass\nyaml.load(stream, Loader=L)", True),
        ("class L(yaml.Loader): pass\nyaml.load(stream, Loader=L)", False),
        ("torch.load(path)", False),
        ("torch.load(path, weights_only=True)", True),
        ("np.load(path, allow_pickle=True)", False),
        ("np.load(path, allow_pickle=False)", True),
        ("pd.read_pickle(path)", False),
    ],
)
def test_the_check_itself_tells_safe_from_unsafe(source: str, is_safe: bool) -> None:
    assert (unsafe_calls(ast.parse(source)) == []) is is_safe


def test_the_walk_itself_sees_nested_and_renamed_imports() -> None:
    modules = {
        "a": ast.parse("def f():\n    from fuxictr_loopfm.store import h5 as other\n"),
        "b": ast.parse("if TYPE_CHECKING:\n    import fuxictr_loopfm.store.h5\n"),
        "store.__init__": ast.parse(""),
        "store.h5": ast.parse("import h5py"),
    }
    everything = {"store.__init__", "store.h5"}
    assert own_imports(modules, "a") == own_imports(modules, "b") == everything
    assert own_imports(modules, "a", at_import_time=True) == set()
    assert own_imports(modules, "b", at_import_time=True) == set()
