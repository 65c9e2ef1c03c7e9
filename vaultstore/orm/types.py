"""What stands in a sealed column: ciphertext in the database; bytes, a Cell or a Shut on the instance.

A loaded ciphertext is plain `bytes` in the instance's dictionary, before and after it is disclosed. The plaintexts of
a batch lie apart, in one Plaintexts, each under the very bytes object that was opened. So whatever drops or replaces
the attribute (expiry, refresh, rollback, a savepoint) closes it, and ciphertext that is carried to another object or
session opens nothing there. A refused ciphertext is replaced by a Shut that says why, an assigned value is a Cell.

Not an object a value, because the garbage collector follows every instance of a Python class: a page of rows would be
thousands of them, and following them costs more than decrypting them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, NoReturn

from sqlalchemy import LargeBinary
from sqlalchemy import exc as sa_exc
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from vaultstore.blindindex import BlindIndex
from vaultstore.errors import AccessDenied, DecryptionError, UnsupportedOperation, WriteDenied

__all__ = [
    "DIGEST_BYTES",
    "NOTHING",
    "OPEN_KEY",
    "BindRefused",
    "BlindIndexType",
    "Carried",
    "Cell",
    "Digest",
    "IndexedFieldType",
    "Needle",
    "Needles",
    "Plaintexts",
    "SealedType",
    "SearchRefused",
    "Shut",
    "again",
    "plaintext_of",
    "running_search",
]

DIGEST_BYTES: Final = 32
"""Length of a digest of a blind index."""

NOTHING: Final = object()
"""Stands for "not in the dictionary"."""


# DontWrapMixin: raised in a bind processor, any other exception is wrapped in a StatementError that keeps parameters.
class BindRefused(WriteDenied, sa_exc.DontWrapMixin):
    """A value that no session sealed was about to be bound to a sealed column."""


class SearchRefused(UnsupportedOperation, sa_exc.DontWrapMixin):
    """A search value was bound in another way than through a field's ==, != or in_ in a purpose's session."""


class Carried(Exception, sa_exc.DontWrapMixin):
    """Brings an error of the gate out of a bind processor unwrapped; the session raises what it carries."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


OPEN_KEY: Final = "_vaultstore_open"
"""Where an instance's dictionary holds the Plaintexts of the batch it was disclosed with."""


class Plaintexts:
    """The open values of one batch. Copies and pickles of it are empty."""

    __slots__ = ("__weakref__", "by", "held")

    def __init__(self) -> None:
        self.by: dict[int, Any] = {}
        """id() of a ciphertext object -> its plaintext."""
        self.held: list[bytes] = []
        """Those objects, so that no other ever gets the id of one that was dropped."""

    def __repr__(self) -> str:
        return "<encrypted>"

    def __reduce__(self) -> tuple[type[Plaintexts], tuple[()]]:
        return Plaintexts, ()

    def clear(self) -> None:
        """Close every value."""
        self.by.clear()
        self.held.clear()


class Cell:
    """One assigned value. `ct` is its ciphertext, None until it is sealed; `v` its plaintext."""

    __slots__ = ("ct", "plain", "v")

    ct: bytes | None
    plain: bytes
    """The encoded plaintext, of an assigned value that is not sealed yet."""
    v: Any

    def __init__(self, ct: bytes | None, v: Any) -> None:
        self.ct = ct
        self.v = v

    @classmethod
    def sealed(cls, ct: bytes) -> Cell:
        """A cell without its plaintext: what a projection column is written from."""
        cell = cls.__new__(cls)
        cell.ct = ct
        return cell

    @classmethod
    def assigned(cls, value: Any, plain: bytes) -> Cell:
        """A cell that the next flush seals."""
        cell = cls(None, value)
        cell.plain = plain
        return cell

    def __repr__(self) -> str:
        return "<encrypted>"

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        if self.ct is None:
            raise UnsupportedOperation("a value that is not sealed yet can't be pickled or copied: flush first")
        return bytes, (self.ct,)


def plaintext_of(values: Mapping[str, Any], cell: Any) -> Any:
    """The open plaintext of `cell`, which stands or stood in an instance's `values`; NOTHING where it is not open."""
    if cell.__class__ is bytes:
        plaintexts = values.get(OPEN_KEY)
        return NOTHING if plaintexts is None else plaintexts.by.get(id(cell), NOTHING)
    return getattr(cell, "v", NOTHING) if cell.__class__ is Cell else NOTHING


class Shut:
    """A ciphertext that was not disclosed, and the reason; it stays until the object is refreshed."""

    __slots__ = ("ct", "error")

    def __init__(self, ct: bytes, error: AccessDenied | DecryptionError) -> None:
        self.ct = ct
        self.error = error

    def __repr__(self) -> str:
        return "<encrypted>"

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (self.ct,)

    def raise_again(self, where: str) -> NoReturn:
        """Raise the reason, with the field in front of it."""
        raise again(self.error, where)


def again(error: AccessDenied | DecryptionError, where: str) -> AccessDenied | DecryptionError:
    """A fresh copy of `error`: raising the same object twice would keep the frames of the first time alive."""
    if isinstance(error, AccessDenied):
        return type(error)(f"{where}: {error}", reason=error.reason, subject=error.subject)
    return type(error)(f"{where}: {error}")


class Digest(bytes):
    """A blind-index digest that the gate gave for a value that is being written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<digest>"


class Needle:
    """A value to search for. Its digest belongs to one execution, so it is not kept here."""

    __slots__ = ("field", "message", "model")

    def __init__(self, model: str, field: str, message: bytes) -> None:
        self.model, self.field, self.message = model, field, message

    def __repr__(self) -> str:
        return "<search value>"

    def __reduce__(self) -> NoReturn:
        raise UnsupportedOperation("a search value can't be pickled: build the statement where it runs")


running_search: ContextVar[Callable[[Needle], tuple[bytes, ...]] | None] = ContextVar("vaultstore_search", default=None)
"""Answers a needle with its digests, within the execution that a session of the store runs right now."""


class Needles(Sequence["Needle | Digest"]):
    """The values of an ``IN``. While their statement runs these are all digests that rows with them may have."""

    __slots__ = ("needles",)

    def __init__(self, needles: Sequence[Needle]) -> None:
        self.needles = tuple(needles)

    def _items(self) -> Sequence[Needle | Digest]:
        search = running_search.get()
        if search is None:
            return self.needles
        return [Digest(digest) for needle in self.needles for digest in search(needle)]

    def __iter__(self) -> Iterator[Needle | Digest]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self.needles)

    def __getitem__(self, at: Any) -> Any:
        return self._items()[at]

    def __repr__(self) -> str:
        return f"<{len(self.needles)} search values>"


def _sealed_bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    if value.__class__ is Cell:
        if value.ct is not None:
            return value.ct
        raise BindRefused("this value was not sealed: assign it before the flush, in a session of the store")
    raise BindRefused(
        f"only values that a session of the store sealed can be written here, not {type(value).__name__}: "
        "assign the attribute and flush, or session.execute(insert(Model), rows)"
    )


def _digest_bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    if value.__class__ is Digest:
        return bytes(value)
    if value.__class__ is Needle:
        answer = running_search.get()
        if answer is not None:
            return _only(answer(value))
        raise SearchRefused("an encrypted field is searched by a session of the store: store.session(token)")
    raise SearchRefused("compare the field itself with ==, !=, in_ or is_(None): raw values can't be searched for")


def _no_literal(value: Any) -> NoReturn:
    raise SearchRefused("sealed columns and blind indexes have no literals: leave the values bound")


def _only(digests: tuple[bytes, ...]) -> bytes:
    if len(digests) == 1:
        return digests[0]
    raise SearchRefused(
        "the index's key is being rotated, so a value has two digests: compare with == or write in_ without a lambda"
    )


class SealedType(TypeDecorator[Any]):
    """Ciphertext. Binds only what was sealed for the cell, reads bytes."""

    impl = LargeBinary
    cache_ok = True

    # bytes go to and from sqlite3 and psycopg as they are; LargeBinary's Binary() costs more than sealing does.
    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Refuse whatever no session sealed."""
        return _sealed_bytes

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Refuse."""
        return _no_literal

    def result_processor(self, dialect: Dialect, coltype: Any) -> None:
        """Nothing to do: the driver gives bytes."""

    def compare_values(self, x: Any, y: Any) -> bool:
        """Whether both are one and the same ciphertext."""
        return x is y or (x.__class__ is Cell and y.__class__ is Cell and x.ct is not None and x.ct == y.ct)

    def coerce_compared_value(self, op: Any, value: Any) -> SealedType:
        """Keep the type, so that a compared value meets the bind processor too."""
        return self


class BlindIndexType(TypeDecorator[Any]):
    """HMAC-SHA-256 of a normalised value, 32 bytes."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(DIGEST_BYTES)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Take digests of the gate and needles of a running search, refuse the rest."""
        return _digest_bytes

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Refuse."""
        return _no_literal

    def result_processor(self, dialect: Dialect, coltype: Any) -> None:
        """Nothing to do: the driver gives bytes."""

    def coerce_compared_value(self, op: Any, value: Any) -> BlindIndexType:
        """Keep the type, so that a compared value meets the bind processor too."""
        return self


class IndexedFieldType(BlindIndexType):
    """The blind index of one field, for values that reach a statement only when it runs (lambda statements)."""

    cache_ok = True

    def __init__(self, model: str, field: str, index: BlindIndex, both: bool = False) -> None:
        """`both`: bind what new rows have and what others may have, one after the other; they may be the same."""
        super().__init__()
        self.model, self.field, self.index, self.both = model, field, index, both

    def needle(self, value: Any) -> Needle:
        """The value as something to search for."""
        return Needle(self.model, self.field, self.index.message(value))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Take plain values."""

        def process(value: Any) -> bytes | None:
            try:
                needle = None if value is None else self.needle(value)
            except UnsupportedOperation as error:
                raise Carried(error) from None
            search = running_search.get()
            if needle is None or search is None:
                return _digest_bytes(needle)
            digests = search(needle)
            return digests[0] + digests[-1] if self.both else _only(digests)

        return process
