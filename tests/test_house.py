"""The house rule of ``core``: modules that one reads in a sitting, functions that fit on a screen, few parameters."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

MODULE_LINES, FUNCTION_LINES, PARAMETERS = 450, 60, 8

# What is still beyond the rule. The list only shrinks: an entry that is no longer needed fails the test too.
ALLOWED: set[str] = set()


def offences(source: str, path: str) -> Iterator[str]:
    """The module and the functions of a source that are beyond the rule, each as ``path`` or ``path Class.function``."""
    if len(source.splitlines()) > MODULE_LINES:
        yield path
    for name, function in functions(ast.parse(source)):
        long = function.end_lineno - function.lineno + 1 > FUNCTION_LINES
        if not is_compiled(function) and (long or (parameters(function) > PARAMETERS and not is_estimator(name, source))):
            yield f"{path} {name}"


def functions(node: ast.AST, name: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions below a node, methods and nested ones too, with the names that enclose them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield inner, child
            yield from functions(child, inner)
        else:
            yield from functions(child, name)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")]) + bool(given.vararg) + bool(given.kwarg)


def is_compiled(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Numba takes arrays and numbers, not objects, and calls between compiled functions are few."""
    return any("njit" in ast.unparse(decorator) for decorator in function.decorator_list)


def is_estimator(name: str, source: str) -> bool:
    """The constructor of an estimator of scikit-learn, which has to name each of its parameters."""
    return name.endswith(".__init__") and f"class {name.split('.')[-2]}(RegressorMixin, BaseEstimator)" in source


def test_core_keeps_its_modules_functions_and_parameter_lists_short():
    paths = sorted((ROOT / "core").rglob("*.py"))
    assert len(paths) > 80
    beyond = {
        offence for path in paths for offence in offences(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    }
    assert beyond - ALLOWED == set(), "cut it, or gather values that travel together in an object"
    assert ALLOWED - beyond == set(), "these hold the rule now: take them off ALLOWED"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n" * 450, []),
        ("x = 1\n" * 451, ["m.py"]),
        ("def f():\n" + "    pass\n" * 59, []),
        ("def f():\n" + "    pass\n" * 60, ["m.py f"]),
        ("class A:\n    def f(self, a, b, c, d, *, e, f, g, h): ...\n", []),
        ("class A:\n    def f(self, a, b, c, d, *, e, f, g, h, **i): ...\n", ["m.py A.f"]),
        ("def f():\n    def g(a, b, c, d, e, f, g, h, i): ...\n", ["m.py f.g"]),
        ("@njit(cache=True)\ndef f(a, b, c, d, e, f, g, h, i): ...\n", []),
        ("class A(RegressorMixin, BaseEstimator):\n    def __init__(self, a, b, c, d, e, f, g, h, i): ...\n", []),
        ("class A:\n    def __init__(self, a, b, c, d, e, f, g, h, i): ...\n", ["m.py A.__init__"]),
    ],
)
def test_the_rule_knows_what_is_beyond_it(source, expected):
    assert list(offences(source, "m.py")) == expected
