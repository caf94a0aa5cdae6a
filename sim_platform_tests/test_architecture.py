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
ROOMS = (
    *STAGES,
    "contracts",
    "registry",
    "warehouse",
    "reporting",
    "orchestration",
    "terminal",
    "commands",
    "cli",
    "definitions",
)

OURS = {
    **{stage: {"contracts", "registry", stage} for stage in STAGES},
    "contracts": {"contracts"},
    "registry": {"registry", "contracts"},
    "warehouse": {"warehouse", "contracts"},
    "reporting": {"reporting", "contracts"},
    "terminal": {"contracts", "orchestration"},
    "commands": {*STAGES, "orchestration", "registry", "contracts", "reporting", "terminal"},
    "cli": {"commands", "orchestration", "registry", "contracts", "reporting", "terminal"},
    "definitions": {"orchestration"},
    "orchestration": set(ROOMS) - {"terminal", "commands", "cli", "definitions"},
}
PURE = {"numpy", "scipy", "polars"}
THIRD_PARTY = {
    **dict.fromkeys(STAGES, PURE),
    "extraction": PURE | {"zstandard"},
    "deidentification": (
        PURE
        | {
            "spacy",
            "thinc",
            "onnx",
            "onnxruntime",
            "tokenizers",
            "hyperscan",
            "pydantic",
            "yaml",
            "presidio_analyzer",
            "tldextract",
            "regex",
        }
    ),
    "replay": PURE | {"zstandard"},
    "grading": PURE | {"sklearn", "threadpoolctl", "krippendorff", "onnxruntime", "tokenizers"},
    "contracts": {"polars", "pandera"},
    "registry": {"pydantic", "yaml"},
    "warehouse": {"duckdb", "polars", "yaml"},
    "reporting": {"polars", "matplotlib", "jinja2"},
    **{room: {"typer", "rich"} for room in ("terminal", "commands", "cli")},
    "definitions": set(),
    "orchestration": {"dagster", "numpy", "polars", "scipy"},
}
PROVIDERS = {"openai", "httpx2", "aiohttp", "xllamacpp"}  # replay.providers only
ONLY_INSIDE_FUNCTIONS = {
    "presidio_analyzer",
    "spacy",
    "thinc",
    "openai",
    "httpx2",
    "aiohttp",
    "xllamacpp",
    "matplotlib",
    "jinja2",
    "scipy.stats",
    "sklearn",
    "krippendorff",
    "onnxruntime",
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
            if rest[0] not in OURS.get(here, set()):
                found.append(f"{here} may not import {name}")
        elif top not in sys.stdlib_module_names and top not in allowed:
            found.append(f"{here} may not import {name}")
        if not lazy and any(f"{name}.".startswith(f"{heavy}.") for heavy in ONLY_INSIDE_FUNCTIONS):
            found.append(f"{name} is imported when the module is loaded, not when it is needed")
    return found


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
        ("from sim_platform.replay import engine", "grading/x.py", True),
        ("from sim_platform import replay", "grading/x.py", True),
        ("from sim_platform.orchestration.runs import status", "cli.py", False),
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


@pytest.mark.parametrize("package", [p for p in ROOMS if p not in ("orchestration", "definitions")])
def test_no_other_room_loads_dagster(package: str) -> None:
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


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_every_module_says_what_it_is_and_packages_stay_empty(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    if (
        module.name == "__init__.py" and module.parent.name == "sampling"
    ):  # publishes the name that the method's documents use
        assert [type(node) for node in ast.parse(text).body] == [ast.Expr, ast.ImportFrom]
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
