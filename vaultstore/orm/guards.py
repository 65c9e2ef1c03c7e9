"""What an engine is told, so that no error shows a value and no driver takes a masked one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from vaultstore.errors import WriteDenied
from vaultstore.masks import Masked

__all__ = ["guard"]

_DONE = "vaultstore.masked_refused"


def guard(bind: Engine | Connection) -> None:
    """Keep parameters out of logs and errors of `bind`'s engine; make psycopg refuse Masked. Harmless when repeated."""
    engine = bind.engine
    if event.contains(engine, "handle_error", _scrub):
        return
    event.listen(engine, "handle_error", _scrub)
    engine.hide_parameters = True  # of logs and messages; what a caller puts into text() would be in clear
    if engine.dialect.driver in ("psycopg", "psycopg_async"):
        event.listen(engine, "checkout", _refuse_masked)


def _scrub(context: ExceptionContext) -> None:
    # hide_parameters would hide the text only: the parameters stay on the exception, for whatever reports it
    error = context.sqlalchemy_exception
    if error is not None:
        error.params = None
        error.hide_parameters = True
    _shorten(context.original_exception, error)


def _shorten(original: BaseException, error: BaseException | None) -> None:
    """Cut off what PostgreSQL adds as DETAIL: the key that collided, or the whole row that failed.

    It is found by its text: the word before it is in the language of the server.
    """
    detail = getattr(getattr(original, "diag", None), "message_detail", None)
    if not detail:
        return
    for exception in (original, error):
        if exception is not None and exception.args and isinstance(exception.args[0], str):
            before, found, _ = exception.args[0].partition(detail)
            if found:
                exception.args = (before.rpartition("\n")[0], *exception.args[1:])


def _refuse_masked(connection: Any, record: Any, proxy: Any) -> None:
    if _DONE not in record.info:
        record.info[_DONE] = True
        driver = getattr(connection, "driver_connection", None) or connection
        driver.adapters.register_dumper(Masked, _dumper())


def _dumper() -> type[Any]:
    from psycopg.adapt import Dumper

    class MaskedDumper(Dumper):
        """psycopg would store a Masked as the text it shows."""

        oid = 25

        def dump(self, obj: Any) -> bytes:
            raise WriteDenied("a masked value can't be written", reason="masked.write")

        def quote(self, obj: Any) -> bytes:
            raise WriteDenied("a masked value can't be written", reason="masked.write")

    return MaskedDumper
