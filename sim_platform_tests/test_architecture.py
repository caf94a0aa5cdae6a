"""The house's walls: who may import whom, what stays cheap to import, what has a docstring."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sim_platform"
MODULES = sorted(PACKAGE.rglob("*.py"))
STAGES = (
    "extraction",
    "deidentification",
    "sampling",
    "replay",
    "grading",
    "estimation",
    "forecasting",
)
# Who may import whom: a room may import itself and what stands in its row.
OURS = {
    **{stage: {"contracts", "registry", "matching"} for stage in STAGES},
    "matching": {"contracts"},
    "contracts": set(),
    "registry": {"contracts"},
    "warehouse": {"contracts"},
    "reporting": {"contracts"},
    "flows": {*STAGES, "contracts", "registry", "warehouse", "reporting"},
    "orchestration": {*STAGES, "contracts", "registry", "warehouse", "reporting", "flows"},
    "commands": {*STAGES, "contracts", "registry", "reporting", "flows", "orchestration"},
    "definitions": {"orchestration"},
    "door": {"contracts", "registry", "flows", "orchestration"},
    "__init__": {"door"},
}
ROOMS = tuple(room for room in OURS if room != "__init__")
# A room imports only rooms on its left; rooms of one step know nothing of each other.
ORDER = (
    {"contracts"},
    {"registry", "matching"},
    {"warehouse", "reporting", *STAGES},
    {"flows"},
    {"orchestration"},
    {"commands", "definitions", "door"},
)
PURE = {"numpy", "scipy", "polars"}
THIRD_PARTY = {
    **dict.fromkeys(STAGES, PURE),
    "extraction": PURE | {"zstandard"},
    "deidentification": PURE
    | {"spacy", "thinc", "onnx", "onnxruntime", "tokenizers", "pydantic", "yaml"}
    | {"presidio_analyzer", "tldextract", "regex"},
    "replay": PURE | {"zstandard"},
    "grading": PURE | {"sklearn", "threadpoolctl", "krippendorff", "onnxruntime", "tokenizers"},
    "contracts": {"polars", "pandera", "yaml"},
    "matching": {"hyperscan"},
    "registry": {"pydantic", "yaml"},
    "warehouse": {"duckdb", "polars", "yaml"},
    "reporting": {"polars", "matplotlib", "jinja2"},
    "flows": PURE,
    "commands": {"typer", "rich"},
    "orchestration": {"dagster", "dagster_webserver", "polars", "starlette", "uvicorn"},
    "door": {"polars"},
}
PROVIDERS = {"openai", "httpx2", "aiohttp", "xllamacpp"}  # replay.providers only
ONLY_INSIDE_FUNCTIONS = {
    *("presidio_analyzer", "spacy", "thinc", "openai", "httpx2", "aiohttp", "xllamacpp"),
    *("matplotlib", "jinja2", "scipy.stats", "sklearn", "krippendorff", "onnxruntime"),
    "tokenizers",
}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"}
NAMES = [str(m.relative_to(PACKAGE)) for m in MODULES]


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[str, bool]]:
    """Every imported dotted name and whether it is imported when called rather than when loaded;
    what only type checkers read is left out.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ((f"{node.module}.{alias.name}", inside_function) for alias in node.names)
        elif not (
            isinstance(node, ast.If)
            and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        ):
            yield from imports(
                node,
                inside_function
                or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
            )


def breaches(module: Path) -> list[str]:
    here, found = room(module), []
    allowed = THIRD_PARTY.get(here, set()) | (
        PROVIDERS if module.relative_to(PACKAGE).parts[:2] == ("replay", "providers") else set()
    )
    for name, lazy in imports(ast.parse(module.read_text(encoding="utf-8"))):
        top, *rest = name.split(".")
        if top == "sim_platform":
            if rest[0] not in OURS.get(here, set()) | {here}:
                found.append(f"{here} may not import {name}")
        elif top not in sys.stdlib_module_names and top not in allowed:
            found.append(f"{here} may not import {name}")
        if not lazy and any(f"{name}.".startswith(f"{heavy}.") for heavy in ONLY_INSIDE_FUNCTIONS):
            found.append(f"{name} is imported when the module is loaded, not when it is needed")
    return found


# Nothing that answers tool calls can reach a tool: no client of anything, no process, no file.
LIVE = {
    *("aiohttp", "anthropic", "asyncio", "ctypes", "dagster", "duckdb", "fastmcp", "ftplib"),
    *("grpc", "http", "httpx", "httpx2", "mcp", "multiprocessing", "openai", "os", "pathlib"),
    *("paramiko", "pty", "requests", "runpy", "shutil", "smtplib", "socket", "socketserver", "ssl"),
    *("subprocess", "telnetlib", "urllib", "urllib3", "webbrowser", "websockets", "xmlrpc"),
    *("importlib", "sim_platform.replay.providers", "sim_platform.replay.engine"),
}
RUNS_CODE = {"eval", "exec", "compile", "open", "__import__", "input", "breakpoint"}


def live_code(tree: ast.AST) -> list[str]:
    """Imports and calls by which simulated tools could leave the process."""
    found = [
        name for name, _ in imports(tree) if any(f"{name}.".startswith(f"{live}.") for live in LIVE)
    ]
    return found + [
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in RUNS_CODE
    ]


TOOLS = sorted((PACKAGE / "replay" / "tools").glob("**/*.py"))


@pytest.mark.parametrize("module", TOOLS, ids=[module.name for module in TOOLS])
def test_simulated_tools_have_no_way_to_a_live_one(module: Path) -> None:
    assert live_code(ast.parse(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        *("import subprocess", "import mcp.client", "from urllib import request", "import os"),
        *("def f():\n    import socket", "from sim_platform.replay.providers import openai"),
        *("eval('1')", "def f(x):\n    return open(x)", "__import__('os')"),
    ],
)
def test_a_way_to_a_live_tool_is_seen(source: str) -> None:
    assert live_code(ast.parse(source))


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_each_room_imports_only_what_its_row_of_the_table_allows(module: Path) -> None:
    assert breaches(module) == []


def test_every_room_has_a_row() -> None:
    assert {room(m) for m in MODULES} - {"__init__"} <= set(ROOMS), (
        "a new package needs a row in this test and in docs/architecture.md"
    )


@pytest.mark.parametrize(
    ("source", "where", "broken"),
    [
        ("import dagster", "sampling/x.py", True),
        ("import duckdb", "orchestration/x.py", True),
        ("import dagster", "flows/x.py", True),
        ("from sim_platform.orchestration import runs", "flows/x.py", True),
        ("from sim_platform.replay import engine", "grading/x.py", True),
        ("from sim_platform import replay", "grading/x.py", True),
        ("from sim_platform.orchestration.runs import run_releases", "commands/x.py", False),
        ("import openai", "replay/engine.py", True),
        ("import openai", "replay/providers/x.py", True),  # at load time
        ("def f():\n    import openai", "replay/providers/x.py", False),
        ("from scipy import stats", "estimation/x.py", True),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import duckdb",
            "orchestration/x.py",
            False,
        ),
        ("try:\n    import duckdb\nexcept ImportError:\n    pass", "replay/x.py", True),
    ],
)
def test_the_walk_sees_a_breach_and_no_more(
    source: str, where: str, broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / where
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(source)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert bool(breaches(module)) is broken


def test_loading_the_definitions_loads_no_model_client_or_plot() -> None:
    heavy = [
        "spacy",
        "presidio_analyzer",
        "scipy.stats",
        "openai",
        "xllamacpp",
        "matplotlib",
        "sklearn",
        "onnxruntime",
        "tokenizers",
    ]
    code = f"import sys, sim_platform.definitions; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stdout


def graph() -> dict[str, set[str]]:
    """Module to the modules of ours that it imports, at load time or when called."""
    names = {
        ".".join(m.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): m
        for m in MODULES
    }
    found: dict[str, set[str]] = {}
    for name, module in names.items():
        wanted = [w for w, _ in imports(ast.parse(module.read_text(encoding="utf-8")))]
        mine = {w if w in names else w.rpartition(".")[0] for w in wanted}
        found[name] = (mine & names.keys()) - {name}
    return found


def circles(of: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in of[name]:
            if other not in number:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == number[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in of:
        if name not in number:
            visit(name)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles(graph()) == []


def test_no_import_runs_back_up() -> None:
    step = {room: n for n, rooms in enumerate(ORDER) for room in rooms}
    assert step.keys() == set(ROOMS)
    up = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if (here := name.split(".")[1:2]) and (there := other.split(".")[1:2])
        if here != there and step[there[0]] >= step[here[0]]
    ]
    assert up == []


@pytest.mark.parametrize(
    "package", [p for p in ROOMS if p not in ("orchestration", "definitions", "flows")]
)
def test_no_other_room_loads_dagster_or_a_database(package: str) -> None:
    modules = [
        ".".join(m.relative_to(PACKAGE.parent).with_suffix("").parts)
        for m in MODULES
        if room(m) == package and m.name != "__init__.py"
    ]
    heavy = ["dagster"] if package == "warehouse" else ["dagster", "duckdb"]
    code = (
        f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print([m for m in"
        f" {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stdout


def test_importing_the_package_is_cheap_and_loads_neither_dagster_nor_a_model() -> None:
    heavy = ["dagster", "spacy", "polars", "duckdb", "pydantic", "scipy", "numpy"]
    code = f"import sys, sim_platform; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stdout


def test_flows_load_no_dagster() -> None:
    flows = [n for n in graph() if n.startswith("sim_platform.flows.")]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {flows}]"
    code += "; print('dagster' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "False", done.stdout


def test_commands_that_only_read_load_no_formulas_and_no_orchestrator() -> None:
    heavy = ["dagster", "scipy", "matplotlib", "spacy", "openai", "sklearn"]
    code = "import sys, sim_platform.commands.main, sim_platform.flows.results"
    code += f"; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stdout


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_every_module_says_what_it_is_and_packages_stay_empty(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    publishes = ("sim_platform", "sampling")  # the door, and the name that the method's papers use
    if module.name == "__init__.py" and module.parent.name in publishes:
        kinds = [type(node) for node in ast.parse(text).body]
        assert kinds[:2] == [ast.Expr, ast.ImportFrom]
        assert set(kinds[2:]) <= {ast.Assign}
    elif module.name == "__init__.py":
        assert text.strip() == ""
    else:
        assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [n for n in NAMES if NAMELESS & set(Path(n).with_suffix("").parts)] == []


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if room(m) in STAGES],
    ids=[n for m, n in zip(MODULES, NAMES, strict=True) if room(m) in STAGES],
)
def test_every_public_name_of_a_stage_has_a_docstring(module: Path) -> None:
    defined = [
        n
        for n in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    assert [
        n.name for n in defined if not n.name.startswith(("_", "is_")) and not ast.get_docstring(n)
    ] == []  # a predicate's name says it
