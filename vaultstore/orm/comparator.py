"""What an encrypted field can do in SQL: ==, !=, in_, not_in and the NULL tests; all else is refused at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import bindparam, func, type_coerce
from sqlalchemy.orm import ColumnProperty
from sqlalchemy.sql import coercions, operators, roles
from sqlalchemy.sql.lambdas import PyWrapper

from vaultstore.blindindex import BlindIndex
from vaultstore.errors import UnsupportedOperation
from vaultstore.masks import is_masked
from vaultstore.orm.types import DIGEST_BYTES, IndexedFieldType, Needle, Needles

if TYPE_CHECKING:
    from vaultstore.orm.properties import EncryptedProperty

__all__ = ["EncryptedComparator", "HiddenComparator"]

_ANY = (operators.eq, operators.in_op)
_NONE = (operators.ne, operators.not_in_op)
_NULL_TESTS = {operators.eq: True, operators.is_: True, operators.ne: False, operators.is_not: False}


class _Refusing(ColumnProperty.Comparator[Any]):
    """Refuses to become an SQL expression, and says what to do instead."""

    __slots__ = ()

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError

    def _memoized_method___clause_element__(self) -> NoReturn:
        self._refuse("selecting it, or ordering and grouping by it,")

    # hasattr() and .info go through __clause_element__, and must not raise.
    def _fallback_getattr(self, key: str) -> Any:
        raise AttributeError(key)

    def _memoized_attr_info(self) -> Any:
        return self.prop.info

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
        self._refuse(getattr(op, "__name__", "this operator"))

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:
        self._refuse(getattr(op, "__name__", "this operator"))

    def _bulk_update_tuples(self, value: Any) -> NoReturn:
        raise UnsupportedOperation(
            f"{self.prop}: update() and insert().values() can't seal; load the objects and assign, "
            "or session.execute(insert(Model), rows)"
        )


class HiddenComparator(_Refusing):
    """Of projection and index columns: they take part in no statement by name."""

    __slots__ = ()

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedOperation(f"{self.prop} can't be used in a statement: compare the field it belongs to")


class EncryptedComparator(_Refusing):
    """Of the field itself: equality goes to the blind index, with values that the gate turns into digests."""

    __slots__ = ("_index",)

    if TYPE_CHECKING:
        prop: EncryptedProperty

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedOperation(
            f"{self.prop}: {what} is not possible on an encrypted field; compare with ==, !=, in_ or is_(None), "
            "or select the model and work in Python"
        )

    def _memoized_attr__index(self) -> Any:
        # Annotating a column costs 15 us: once an attribute, not once a comparison.
        self._declared  # noqa: B018 - raises where there is none
        return self._annotated(self.prop.index_column, f"{self.prop.key}_bidx")

    def _annotated(self, column: Any, key: str) -> Any:
        return self.adapter(column, key) if self.adapter else self._orm_annotate_column(column)

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
        """Build the comparison, or raise UnsupportedOperation."""
        value = other[0] if other else None
        if op in _NULL_TESTS and value is None:
            prop = self.prop
            if prop.plain_column is not None:
                self._refuse("a test for NULL, while rows are sealed one by one,")
            column = self._annotated(prop.columns[0], prop.key) if prop.index_column is None else self._index
            return column.is_(None) if _NULL_TESTS[op] else column.is_not(None)
        if isinstance(value, PyWrapper):  # a closure variable of a lambda statement: its value comes when it runs
            return self._closed_over(op, value)
        if op in (operators.eq, operators.ne):
            value = (value,)
        elif op not in _ANY and op not in _NONE:
            self._refuse(getattr(op, "__name__", "this operator"))
        elif not isinstance(value, list | tuple | set | frozenset):
            self._refuse("in_ with anything but a list of values")
        # A list even for one value: while the index's key is being rotated there are two digests of it.
        needles = Needles([self._needle(item) for item in value])
        column = self._index
        among = bindparam(None, needles, type_=column.type, unique=True, expanding=True)
        return column.in_(among) if op in _ANY else column.not_in(among)

    def _closed_over(self, op: Any, value: PyWrapper) -> Any:
        both = op in (operators.eq, operators.ne)
        column = type_coerce(self._index, IndexedFieldType(self._model, self.prop.key, self._declared, both))
        if not both:
            return op(column, value) if op in _ANY or op in _NONE else self._refuse("this operator")
        # One parameter that holds two digests: there is no way to make a list of one of the closure's variables.
        bound = coercions.expect(roles.BinaryElementRole, value, expr=column, operator=op)
        digests = [func.substr(bound, start, DIGEST_BYTES, type_=self._index.type) for start in (1, 1 + DIGEST_BYTES)]
        return self._index.in_(digests) if op is operators.eq else self._index.not_in(digests)

    def _needle(self, value: Any) -> Needle:
        if value is None:
            self._refuse("None inside in_")
        if is_masked(value):
            self._refuse("searching for a masked value")
        if hasattr(value, "__clause_element__") or hasattr(value, "_annotations"):
            self._refuse("comparing with another column or expression")
        return Needle(self._model, self.prop.key, self._declared.message(value))

    @property
    def _model(self) -> str:
        name: str = self._parententity.mapper.class_.__name__
        return name

    @property
    def _declared(self) -> BlindIndex:
        index = self.prop.spec.index
        if index is None:
            raise UnsupportedOperation(f"{self.prop} has no blind index: declare index=blind_index(...) to search it")
        return index
