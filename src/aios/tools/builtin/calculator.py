"""Arithmetic, without `eval`: an expression is parsed and its few kinds of nodes are computed here."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from aios.errors import ToolError
from aios.tools.tool import tool

MOST_CHARS = 2000
MOST_BITS = 4096
"""Of any whole number on the way: beyond it an expression is a bomb, not a sum."""
MOST_ARGUMENTS = 1000
DEPTH = 100
Number = int | float

BINARY: dict[type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b, ast.Mod: operator.mod,
}  # fmt: skip
UNARY: dict[type[ast.unaryop], Callable[[Any], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
PLAIN = (
    "sqrt", "exp", "log", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh",
    "tanh", "degrees", "radians", "floor", "ceil", "trunc", "hypot", "gcd", "lcm", "isqrt", "fabs", "fmod",
)  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau, "inf": math.inf}


@tool(effect="pure")
def calculator(expression: str) -> int | float | bool:
    """Compute an arithmetic expression exactly where it can be, such as `2**10 + sqrt(16) * sin(pi / 6)`.

    expression: Python arithmetic: + - * / // % ** and comparisons, functions like sqrt, log, factorial, round
    """
    if len(expression) > MOST_CHARS:
        raise ToolError(f"The expression has more than {MOST_CHARS} characters.", "Compute it in parts.")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError(f"That is no expression: {error}.", "Write for example (3 + 4) * 2.") from error
    return _compute(tree.body, 0)


def _compute(node: ast.expr, depth: int) -> Any:
    if depth > DEPTH:
        raise ToolError("The expression is nested too deeply.", "Compute it in parts.")
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return _bounded(value)
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return UNARY[type(op)](_compute(operand, depth + 1))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_compute(left, depth + 1), _compute(right, depth + 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _bounded(BINARY[type(op)](_compute(left, depth + 1), _compute(right, depth + 1)))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            values = [_compute(value, depth + 1) for value in (left, *comparators)]
            tests = zip(values, ops, values[1:], strict=False)
            return all(COMPARE[type(op)](a, b) for a, op, b in tests if _known(op))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]):
            if len(given) > MOST_ARGUMENTS:
                raise ToolError(f"{name} has too many arguments.", "Compute it in parts.")
            return _bounded(_call(name, [_compute(value, depth + 1) for value in given]))
        case _:
            what = f"{ast.unparse(node)[:60]!r} is no arithmetic."
            raise ToolError(what, f"Known: numbers, operators, {', '.join((*CONSTANTS, *PLAIN))}.")


def _known(op: ast.cmpop) -> bool:
    if type(op) not in COMPARE:
        raise ToolError("Only == != < <= > >= compare.", "Use one of these.")
    return True


def _call(name: str, given: list[Any]) -> Any:
    if name in PLAIN:
        if name == "lcm":
            _refuse_over(sum(int(value).bit_length() for value in given))
        return getattr(math, name)(*given)
    match name, given:
        case "factorial", [int(n)]:
            _refuse_over(math.lgamma(n + 1) / math.log(2) if n > 1 else 1)
            return math.factorial(n)
        case "comb" | "perm", [int(n), int(k)]:
            _refuse_over(max(n, 1).bit_length() * min(k, n))
            return getattr(math, name)(n, k)
        case "pow", [base, exponent]:
            return _power(base, exponent)
        case "abs", [value]:
            return abs(value)
        case "round", [value]:
            return round(value)
        case "round", [value, int(digits)] if abs(digits) <= 300:
            return round(value, digits)
        case ("min", [_, *_]) | ("max", [_, *_]):
            return min(given) if name == "min" else max(given)
        case "sum", _:
            return sum(given)
        case "mean", [_, *_]:
            return sum(given) / len(given)
        case _:
            what = f"There is no function {name} of {len(given)} such numbers."
            raise ToolError(
                what, f"Known: {', '.join(PLAIN)}, factorial, comb, perm, pow, abs, round, min, max."
            )


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int):
        _refuse_over(base.bit_length() * abs(exponent) if base not in (-1, 0, 1) else 1)
    result = base**exponent
    if isinstance(result, complex):
        raise ToolError(f"{base}**{exponent} is not a real number.", "Use a base that is not negative.")
    return _bounded(result)


def _bounded(value: Any) -> Any:
    if isinstance(value, int):
        _refuse_over(value.bit_length())
    return value


def _refuse_over(bits: float) -> None:
    if bits > MOST_BITS:
        raise ToolError(f"A number would have more than {MOST_BITS} bits.", "Use smaller numbers.")
