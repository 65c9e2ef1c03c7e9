"""The triggers of a move: what the database does when a plaintext column is written that is being replaced.

Until the cutover, old code may write plaintext: then what is sealed is taken back, to be sealed anew. From the cutover
on, a plaintext that comes with a sealed value is dropped, and one that comes without is refused: nothing is lost
silently. A value that our sessions seal is never the same twice, so a write that leaves the sealed column as it was
came from somebody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vaultstore.records.moves import Move

__all__ = ["install", "remove"]


def install(move: Move, dialect: str, *, keys: Sequence[str] = (), schema: str = "public") -> list[str]:
    """The statements that make a move's triggers. `keys` are the table's primary key (for SQLite)."""
    return _postgresql(move, schema) if dialect == "postgresql" else _sqlite(move, keys)


def remove(move: Move, dialect: str, *, schema: str = "public") -> list[str]:
    """The statements that take them away; harmless where there are none."""
    base = _base(move)
    if dialect == "postgresql":
        return [
            f"DROP TRIGGER IF EXISTS {base} ON {_name(schema)}.{_name(move.table)}",
            f"DROP FUNCTION IF EXISTS {_name(schema)}.{base}()",
        ]
    return [f"DROP TRIGGER IF EXISTS {base}_{part}" for part in _PARTS]


_PARTS = ("refuse_insert", "refuse_update", "insert", "update", "cut_insert", "cut_update")


def _base(move: Move) -> str:
    """A name of its own for each column: a hash, since names are short."""
    return f"vs_moving_{hashlib.sha256(f'{move.table}.{move.plain}'.encode()).hexdigest()[:12]}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _message(move: Move) -> str:
    return f"vaultstore: {move.table}.{move.plain} has moved to {move.sealed}, so a value that is not sealed is refused"


def _sqlite(move: Move, keys: Sequence[str]) -> list[str]:
    table, plain, sealed, base = _name(move.table), _name(move.plain), _name(move.sealed), _base(move)
    this = f"model = {_text(move.model)} AND field = {_text(move.field)}"
    over = f"(SELECT state IN ('cutover', 'dropped') FROM vs_moves WHERE {this})"  # noqa: S608 - quoted names
    row = " AND ".join(f"{_name(key)} IS NEW.{_name(key)}" for key in keys)
    refuse = f"SELECT RAISE(ABORT, {_text(_message(move))});"
    nothing = ", ".join(f"{_name(column)} = NULL" for column in (move.sealed, *move.beside))
    take_back = (
        f"UPDATE {table} SET {nothing} WHERE {row};"  # noqa: S608 - quoted names
        f" UPDATE vs_moves SET changed = 1 WHERE {this} AND NOT changed;"
    )
    empty = (
        f"UPDATE vs_moves SET cutting = 1 WHERE {this};"  # noqa: S608 - quoted names
        f" UPDATE {table} SET {plain} = NULL WHERE {row};"
        f" UPDATE vs_moves SET cutting = 0 WHERE {this};"
    )
    # quote() tells values apart that the column's collation takes for the same.
    differs = f"(quote(NEW.{plain}) <> quote(OLD.{plain}) OR NEW.{plain} IS NOT OLD.{plain})"
    alone, same = f"NEW.{plain} IS NOT NULL AND NEW.{sealed} IS NULL", f"NEW.{sealed} IS OLD.{sealed}"
    lost = f"{same} AND (NEW.{plain} IS NOT NULL OR OLD.{sealed} IS NOT NULL)"
    cutting = f"(SELECT cutting FROM vs_moves WHERE {this})"  # noqa: S608 - quoted names
    written = f"UPDATE OF {plain} ON {table} WHEN"
    bodies = {
        "refuse_insert": (f"BEFORE INSERT ON {table} WHEN {alone} AND {over}", refuse),
        "refuse_update": (f"BEFORE {written} {lost} AND {over} AND NOT {cutting}", refuse),
        "insert": (f"AFTER INSERT ON {table} WHEN {alone} AND NOT {over}", take_back),
        "update": (f"AFTER {written} {differs} AND {same} AND NOT {over}", take_back),
        "cut_insert": (f"AFTER INSERT ON {table} WHEN NEW.{plain} IS NOT NULL AND {over}", empty),
        "cut_update": (f"AFTER {written} NEW.{plain} IS NOT NULL AND {over}", empty),
    }
    return [f"CREATE TRIGGER {base}_{part} {when} BEGIN {body} END" for part, (when, body) in bodies.items()]


def _postgresql(move: Move, schema: str) -> list[str]:
    table, plain, sealed = f"{_name(schema)}.{_name(move.table)}", _name(move.plain), _name(move.sealed)
    base, moves = _base(move), f"{_name(schema)}.vs_moves"
    this = f"m.model = {_text(move.model)} AND m.field = {_text(move.field)}"
    nothing = " ".join(f"NEW.{_name(column)} := NULL;" for column in (move.sealed, *move.beside))
    function = f"""
CREATE OR REPLACE FUNCTION {_name(schema)}.{base}() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $moving$
DECLARE
    unsealed boolean := NEW.{sealed} IS NULL;
    held boolean := false;
    written boolean := true;
    over boolean;
    cutting boolean;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        unsealed := NEW.{sealed} IS NOT DISTINCT FROM OLD.{sealed};
        held := OLD.{sealed} IS NOT NULL;
        written := NEW.{plain}::text IS DISTINCT FROM OLD.{plain}::text;
    ELSIF NEW.{plain} IS NULL THEN
        RETURN NEW;
    END IF;
    SELECT m.state IN ('cutover', 'dropped'), m.cutting INTO over, cutting FROM {moves} m WHERE {this};
    IF over AND NOT cutting THEN
        IF unsealed AND (NEW.{plain} IS NOT NULL OR held) THEN
            RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = {_text(_message(move))};
        END IF;
        NEW.{plain} := NULL;
    ELSIF NOT over AND unsealed AND written THEN
        {nothing}
        UPDATE {moves} m SET changed = true WHERE {this} AND NOT m.changed;
    END IF;
    RETURN NEW;
END
$moving$
""".strip()  # noqa: S608 - quoted names
    return [
        function,
        f"REVOKE ALL ON FUNCTION {_name(schema)}.{base}() FROM PUBLIC",
        (
            f"CREATE OR REPLACE TRIGGER {base} BEFORE INSERT OR UPDATE OF {plain} ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION {_name(schema)}.{base}()"
        ),
    ]
