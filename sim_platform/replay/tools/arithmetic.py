"""Arithmetic as calculators of logs compute it, without running anything.

Belongs here: an expression's value. Does not: which tool is a calculator (coverage).
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

MAX_CHARACTERS = 1_000
MAX_EXPONENT = 1_000
_TWO: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def value_of(expression: str) -> float | None:
    """The value of an expression of numbers, + - * / // % ** and brackets; None where it is
    anything else, has no value, or is too large to compute.
    """
    if len(expression) > MAX_CHARACTERS:
        return None
    try:
        return float(_value(ast.parse(expression.strip(), mode="eval").body))
    except (ValueError, SyntaxError, ArithmeticError, RecursionError, MemoryError, TypeError):
        return None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            if abs(right) > MAX_EXPONENT:
                raise ValueError("an exponent beyond what is computed")
            return float(left) ** right
        if found := _TWO.get(type(node.op)):
            return found(left, right)
    raise ValueError("no arithmetic")
