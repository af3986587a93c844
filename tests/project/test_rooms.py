"""Rooms stay small enough to be seen at a glance, and no module imports itself over others."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "mm_kptm"
MOST_MODULES, MOST_LINES = 20, 350


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    named = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def imported(tree: ast.AST, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that the statements of a module import when it is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue  # imported when called
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue  # read by type checkers alone
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in known else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from imported(node, known)


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Paths that lead from a module back to itself; empty where there is none."""
    found, done = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append(path[path.index(module) :])
        elif module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, [*path, module])
            done.add(module)

    for module in edges:
        visit(module, [])
    return found


def test_no_import_forms_a_circle():
    known = modules()
    edges = {
        name: {other for other in imported(ast.parse(path.read_text(encoding="utf-8")), known) if other in known}
        for name, path in known.items()
    }
    assert sum(map(len, edges.values())) > 1000, "the imports are read"
    assert circles(edges) == []


def test_a_planted_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_folder_holds_more_modules_than_can_be_seen_at_a_glance():
    crowded = {}
    for folder in (PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())):
        own = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        if len(own) > MOST_MODULES:
            crowded[str(folder.relative_to(PACKAGE))] = len(own)
    assert crowded == {}


def test_no_file_is_longer_than_one_idea():
    long = {
        name: lines for name, path in modules().items() if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}
