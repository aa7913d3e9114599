"""Conditions on columns, such as `lang == 'de' and year >= 2024`, in the words of Python.

As in SQL, nothing is equal to null or different from it; only `is None` finds it.
"""

import ast
from collections.abc import Mapping
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from embed_index.schemas.errors import ConfigurationError

_COMPARISONS = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_FORM = (
    "Compare columns with values by ==, !=, <, <=, >, >=, in (…), is None; join by and, or, not."
    " A name that is no word stands as col('made at')."
)


class Condition:
    """What rows must meet to be read."""

    def __init__(self, text: str) -> None:
        """Parse a condition.

        Raises:
            ConfigurationError: It is none.
        """
        self.text = text
        try:
            self._root = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._refusal("it is no expression") from error
        self._names: dict[str, None] = {}
        self._note_names(self._root)
        if not self._names:
            raise self._refusal("it names no column")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it is about, each once."""
        return tuple(self._names)

    def mask(self, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Return which rows meet it.

        Args:
            columns: All of `names`, of equal length.

        Raises:
            ConfigurationError: A column cannot be compared as it is.
        """
        plain = {name: _plain(column) for name, column in columns.items()}
        try:
            met = self._truth(self._root, plain)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            types = ", ".join(f"{name} is {column.type}" for name, column in plain.items())
            raise self._refusal(f"{types}, and cannot be compared so") from error
        return pc.fill_null(met, fill_value=False)

    def _truth(self, node: ast.expr, columns: Mapping[str, pa.Array]) -> pa.Array:
        if isinstance(node, ast.BoolOp):
            join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            return reduce(join, (self._truth(value, columns) for value in node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return pc.invert(self._truth(node.operand, columns))
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides, node.ops, sides[1:], strict=False)
            return reduce(pc.and_kleene, (self._compared(*pair, columns) for pair in pairs))
        name = _name(node)
        if name is None:
            raise self._refusal(f"{ast.unparse(node)!r} is no condition")
        column = columns[name]
        if not (pa.types.is_boolean(column.type) or pa.types.is_null(column.type)):
            raise TypeError
        return column.cast(pa.bool_())

    def _compared(
        self, left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Mapping[str, pa.Array]
    ) -> pa.Array:
        if _name(left) is None and not isinstance(op, (ast.In, ast.NotIn, ast.Is, ast.IsNot)):
            mirrored = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
            left, right, op = right, left, mirrored.get(type(op), type(op))()
        name = _name(left)
        if name is None:
            raise self._refusal("one side of a comparison must be a column")
        column = columns[name]
        other = _name(right)
        if other is not None and type(op) in _COMPARISONS:
            return _COMPARISONS[type(op)](column, columns[other])
        value = self._literal(right)
        if isinstance(op, (ast.In, ast.NotIn)):
            if not isinstance(value, (tuple, list)) or None in value:
                raise self._refusal("after `in` stand values in brackets, none of them None")
            if pa.types.is_null(column.type):
                return pa.nulls(len(column), pa.bool_())
            found = pc.is_in(column, value_set=pa.array(value).cast(column.type))
            found = pc.if_else(column.is_valid(), found, pa.scalar(None, pa.bool_()))
            return found if isinstance(op, ast.In) else pc.invert(found)
        if value is None:
            if isinstance(op, (ast.Is, ast.Eq)):
                return column.is_null()
            if isinstance(op, (ast.IsNot, ast.NotEq)):
                return column.is_valid()
        if type(op) not in _COMPARISONS or value is None or isinstance(value, (tuple, list)):
            raise self._refusal(f"{ast.unparse(right)} cannot stand there")
        if pa.types.is_null(column.type):
            return pa.nulls(len(column), pa.bool_())
        return _COMPARISONS[type(op)](column, _scalar(value, column.type))

    def _literal(self, node: ast.expr) -> object:
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise self._refusal(
                f"{ast.unparse(node)!r} is no value; texts stand in quotes"
            ) from None

    def _note_names(self, node: ast.AST) -> None:
        name = _name(node)
        if name is not None:
            self._names[name] = None
            return
        for inner in ast.iter_child_nodes(node):
            self._note_names(inner)

    def _refusal(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"where: {self.text!r}: {reason}", remedy=_FORM)


def _name(node: ast.AST) -> str | None:
    """Return the column that a node names: `lang`, `doc.lang` or `col('made at')`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        outer = _name(node.value)
        return None if outer is None else f"{outer}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "col":
        (name,) = node.args if len(node.args) == 1 and not node.keywords else (None,)
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return name.value
    return None


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def _scalar(value: object, kind: pa.DataType) -> pa.Scalar:
    """Return a value as one that can be compared with a column; a time without a zone is in UTC.

    Raises:
        TypeError: A text meets something else.
    """
    scalar = pa.scalar(value)
    if isinstance(value, str) and pa.types.is_timestamp(kind) and kind.tz:
        try:
            return scalar.cast(pa.timestamp(kind.unit)).cast(pa.timestamp(kind.unit, "UTC"))
        except pa.ArrowInvalid:
            return scalar.cast(kind)
    if isinstance(value, str) and pa.types.is_temporal(kind):
        return scalar.cast(kind)
    if isinstance(value, str) != (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise TypeError
    return scalar
