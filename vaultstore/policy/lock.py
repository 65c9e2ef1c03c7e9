"""fields.lock: how the models' fields stood when the policy was last reviewed, so that a changed mask shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vaultstore.catalogue import Catalogue, Field
from vaultstore.errors import PolicyError

__all__ = ["Lock", "LockChange", "write_lock"]

_HEAD = """\
# What the policy was reviewed against: each encrypted field with its category, type, index and masks.
# Written by `vaultstore policy lock`. A change here is a change of what people see: review it as one.
lock 1
"""


@dataclass(frozen=True, slots=True)
class LockChange:
    """A field that is not as it is locked."""

    field: str
    """``Model.field``."""
    locked: tuple[str, ...]
    """Its lines in the lock that no longer hold; empty for a new field."""
    found: tuple[str, ...]
    """Its lines now that the lock does not have; empty for a field that is gone."""
    line: int | None = None
    """Where the lock file speaks of it."""

    def __str__(self) -> str:
        was, now = "; ".join(self.locked) or "nothing", "; ".join(self.found) or "nothing"
        return f"{self.field}: locked {was}; the models have {now}"


@dataclass(frozen=True, slots=True)
class Lock:
    """Fields as text: ``Model.field`` -> its lines, without indentation."""

    fields: Mapping[str, tuple[str, ...]]
    lines: Mapping[str, int]
    """``Model.field`` -> its line in the file it was loaded from."""
    path: Path | None = None

    @classmethod
    def of(cls, catalogue: Catalogue) -> Lock:
        """The lock that `catalogue` would be written as."""
        return cls({f"{m.name}.{f.name}": tuple(_lines(f)) for m in catalogue for f in m.fields}, {})

    @classmethod
    def load(cls, path: str | Path) -> Lock:
        """Read a lock file. Raises PolicyError where it is missing or not one."""
        path = Path(path)
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            raise PolicyError("no such lock: run `vaultstore policy lock`", file=path) from None
        except (OSError, ValueError):
            raise PolicyError("the lock can not be read", file=path) from None
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path | None = None) -> Lock:
        """Read the text of a lock file; `path` is what errors name."""
        fields: dict[str, tuple[str, ...]] = {}
        lines: dict[str, int] = {}
        current = version = None
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if version is None:
                version = line.strip()
                if version != "lock 1":
                    raise PolicyError("not a lock of version 1", file=path, line=number, column=1)
            elif not line.startswith(" "):
                current = line.strip()
                if current in fields:
                    raise PolicyError(f"{current!r} is locked twice", file=path, line=number, column=1)
                fields[current], lines[current] = (), number
            elif current is None:
                raise PolicyError("a line before the first field", file=path, line=number, column=1)
            else:
                fields[current] += (line.removeprefix("  "),)
        if version is None:
            raise PolicyError("the lock is empty: run `vaultstore policy lock`", file=path, line=1, column=1)
        return cls(fields, lines, path)

    def text(self) -> str:
        """The file's content: fields in alphabetical order, so that a change is a small diff."""
        blocks = ("\n".join((name, *(f"  {line}" for line in self.fields[name]))) for name in sorted(self.fields))
        return _HEAD + "".join(f"\n{block}\n" for block in blocks)

    def diff(self, now: Lock) -> tuple[LockChange, ...]:
        """What changed from this lock to `now`, by field."""
        changes = []
        for name in sorted({*self.fields, *now.fields}):
            locked, found = self.fields.get(name, ()), now.fields.get(name, ())
            if locked != found:
                gone = tuple(line for line in locked if line not in found)
                new = tuple(line for line in found if line not in locked)
                changes.append(LockChange(name, gone or locked, new or found, self.lines.get(name)))
        return tuple(changes)


def write_lock(catalogue: Catalogue, path: str | Path) -> Lock:
    """Write the lock of `catalogue` to `path`, and return it. Raises PolicyError where it can't be written."""
    lock = Lock.of(catalogue)
    try:
        Path(path).write_text(lock.text(), "utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a fingerprint is not text"
        raise PolicyError(f"the lock can not be written: {reason}", file=path) from None
    return lock


def _lines(field: Field) -> Iterator[str]:
    yield f"category {field.category}"
    yield f"type {field.type}"
    if field.index is not None:
        yield f"index {_flat(field.index.normalizer)}{' unique' if field.index.unique else ''}"
    for projection in sorted(field.projections, key=lambda p: p.category):
        yield f"mask {projection.category} {_flat(projection.mask)}"


def _flat(fingerprint: str) -> str:
    """One line, whatever a fingerprint holds: JSON's escapes but for quotes, which need none here."""
    return json.dumps(fingerprint, ensure_ascii=False)[1:-1].replace('\\"', '"')
