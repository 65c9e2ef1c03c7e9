"""A session's transactions on PostgreSQL run as the role of its purpose, and know whose they are.

The login has no rights of its own. At the beginning of each transaction one statement takes the purpose's role and
leaves the grant's claims for row-level security to read, both until the transaction ends: so a connection goes back to
the pool as it came, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, TwoPhaseTransaction, event
from sqlalchemy.exc import DBAPIError, ProgrammingError

from vaultstore.errors import AccessDenied, UnsupportedOperation, VaultstoreError, WriteDenied
from vaultstore.records.plane import CLAIMS

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["NOT_PRIVILEGED", "denial", "enter", "operators_only", "sqlstate"]

# The columns of a SELECT without a table are worked out from left to right: the first three are of before the change.
_ENTER = (
    "SELECT current_user::text, session_user::text, COALESCE(current_setting(%(claims)s, true), ''),"
    " set_config('role', %(role)s, true), set_config(%(claims)s, %(value)s, true)"
)
NOT_PRIVILEGED = "42501"
"""SQLSTATE of a statement that the role or login has no right to, or of a row that its policies refuse."""
_NO_SUCH_ROLE = "22023"


def enter(session: PurposeSession, role: str, connection: Connection) -> None:
    """Take `role` and leave the session's claims on `connection`, until its transaction ends. One statement.

    Raises UnsupportedOperation for a connection that autocommits, AccessDenied where the login may not take the role,
    and VaultstoreError for a connection that came with a role or claims on it. Nothing runs on such a connection: it
    is invalidated, or its transaction has failed.
    """
    if connection.dialect.detect_autocommit_setting(connection.connection.dbapi_connection):  # type: ignore[arg-type] # it is connected
        connection.invalidate()
        raise UnsupportedOperation(
            "a purpose's role lasts for one transaction: use an engine or connection that doesn't autocommit"
        )
    if isinstance(connection.get_transaction(), TwoPhaseTransaction):
        _prepare_outside(connection.engine)
    value, purpose = session.opened.claims.json, session.access.purpose.name
    try:
        was, login, claims, *_ = connection.exec_driver_sql(
            _ENTER, {"claims": CLAIMS, "role": role, "value": value}
        ).one()
    except BaseException as error:  # an interrupt too: nothing may run here as the login
        if not isinstance(error, DBAPIError) or sqlstate(error) not in (NOT_PRIVILEGED, _NO_SUCH_ROLE):
            connection.invalidate()
            raise
        refused = f"this database login does not serve the purpose {purpose}: is the policy applied, with this service?"
    else:
        if was == login and not claims:
            return
        if session.joins and (was, claims) == (role, value):
            return  # somebody else's transaction goes on, in which this session had committed before
        connection.invalidate()
        raise VaultstoreError("a pooled connection came with a role or claims left on it, so it was thrown away")
    raise AccessDenied(refused, reason="login.not_served")


def _prepare_outside(engine: Engine) -> None:
    """Have two-phase transactions prepared by the login: who prepared one commits it, and a role can't log in."""
    if not event.contains(engine, "prepare_twophase", _step_out):
        event.listen(engine, "prepare_twophase", _step_out)


def _step_out(connection: Connection, xid: object) -> None:
    connection.exec_driver_sql("SET LOCAL ROLE NONE")


def denial(error: DBAPIError, purpose: str, *, writing: bool) -> AccessDenied | None:
    """What to raise instead of `error` where the database refused for want of a right; None where it did not."""
    if sqlstate(error) != NOT_PRIVILEGED:
        return None
    kind, what = (WriteDenied, "this write") if writing else (AccessDenied, "this statement")
    return kind(
        f"the database refuses {what} to the purpose {purpose}: a table, a column or a row is not granted to it,"
        " or the policy is not applied",
        reason="database.refused",
    )


def sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's code of an error; None where it is not from there."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


@contextmanager
def operators_only(what: str) -> Iterator[None]:
    """Raise UnsupportedOperation, which says that `what` is for operators, where the login has no right to it."""
    try:
        yield
    except ProgrammingError as error:
        if sqlstate(error) != NOT_PRIVILEGED:
            raise
        refused = f"this database login may not {what}: that is for operators, `vaultstore policy apply`"
    else:
        return
    raise UnsupportedOperation(refused)
