"""The lines of one subject, each with what it takes to prove it: alone, in its entry, in the log.

Reads the subject's own entries and no others. What is handed on of an entry's other lines is hashes, which their salts
keep from being guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vaultstore import merkle
from vaultstore.audit import parse_lines, read_leaf
from vaultstore.audit.checkpoint import Checkpoint
from vaultstore.audit.lines import StoredLine
from vaultstore.canonical import pae
from vaultstore.errors import ProofError
from vaultstore.evidence.report_source import Source
from vaultstore.signed_note import Note

__all__ = ["OwnLine", "own_lines", "sub_leaf"]

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class OwnLine:
    """A line of the subject, its entry, and both proofs."""

    number: int
    content: dict[str, Any]
    """The leaf's content."""
    leaf: str
    salt: bytes
    outcome: str
    place: tuple[int, int]
    """(which line of the entry it is, from 0, and how many the entry has)."""
    path: tuple[bytes, ...]
    """From the line up to the leaf's `subjects_root`."""
    index: int | None
    """Place of the entry in the log of the checkpoint; None where it waits to be signed over."""
    hashes: tuple[bytes, ...]
    """From the leaf up to the checkpoint's root."""


def sub_leaf(salt: bytes, subject: bytes, number: int, categories: Sequence[str], outcome: str) -> bytes:
    """Hash of a line as its entry's tree has it (docs/formats/audit-leaf.md)."""
    return merkle.leaf_hash(
        pae(salt, subject, number.to_bytes(8, "little"), ",".join(categories).encode(), outcome.encode())
    )


def own_lines(source: Source, subject: bytes, checkpoint: Note | None, last: int) -> Iterator[OwnLine]:
    """The subject's lines up to the number `last`, in the order of the log, proved under `checkpoint`.

    Raises AuditError for an entry that can't be read, ProofError for a tree that is not whole.
    """
    size = 0 if checkpoint is None else Checkpoint.parse(checkpoint.text).size
    found = source.entries()
    while rows := list(islice(found, _AT_ONCE)):
        places = [row.position for row in rows if row.position is not None and row.position < size]
        wanted = {node for place in places for part in merkle.inclusion_nodes(place, size) for node in part}
        nodes = source.nodes(wanted)
        if len(nodes) < len(wanted):
            raise ProofError("rows of the log's tree are missing: run audit verify")
        for row in rows:
            index = row.position if row.position is not None and row.position < size else None
            hashes = () if index is None else tuple(merkle.inclusion_proof(index, size, nodes))
            yield from _of_entry(subject, last, row.leaf, row.lines, json.loads(row.outcomes), index, hashes)


def _of_entry(
    subject: bytes,
    last: int,
    leaf: str,
    lines: bytes,
    outcomes: Sequence[str],
    index: int | None,
    hashes: tuple[bytes, ...],
) -> Iterator[OwnLine]:
    content = read_leaf(leaf)
    read = parse_lines(lines, outcomes)
    mine = [at for at, one in enumerate(read) if one.line is not None and one.line.subject == subject]
    if not mine:  # the bytes of an id stood across two others
        return
    tree = _tree([_hash(one, content["categories"]) for one in read])
    for at in mine:
        line = read[at].line
        assert line is not None
        if line.number <= last:
            path = tuple(merkle.inclusion_proof(at, len(read), tree))
            place = (at, len(read))
            yield OwnLine(
                line.number, content, leaf, read[at].salt, line.outcome, place, path, index, hashes
            )  # fmt: skip


def _hash(one: StoredLine, categories: Sequence[str]) -> bytes:
    return one.salt if one.line is None else sub_leaf(one.salt, *one.line[:2], categories, one.line.outcome)


def _tree(hashes: Sequence[bytes]) -> dict[merkle.Node, bytes]:
    """Every perfect node over some leaves."""
    tree: dict[merkle.Node, bytes] = {}
    level, row = 0, list(hashes)
    while row:
        tree.update({(level, at): item for at, item in enumerate(row)})
        row = [merkle.node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        level += 1
    return tree
