"""Another process on a store that erases a subject, and dies at a step it is told: nothing is cleaned up after it."""

from __future__ import annotations

import os
import signal
import sys
import uuid

from sqlalchemy import event

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from tests.support.profiles import SHIPPED_POLICY
from vaultstore import LocalKeys, Policy, Store
from vaultstore.lifecycle import erasure_steps
from vaultstore.members.models import Base
from vaultstore.records import erasures


def main(url: str, keys: str, subject: str, step: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    store = Store.open(url, keys=LocalKeys.open(keys), policy=Policy.load(SHIPPED_POLICY), models=Base)
    members, gate = store.parts.engine, store.parts.gate_engine
    match step:
        case "in the middle":
            erasure_steps._log = die  # type: ignore[assignment]
        case "before the gate's commit":
            event.listen(gate, "commit", die)
        case "between the commits":
            event.listen(members, "commit", die)
        case "after both":
            erasures.finish = die
    store.subjects.erase(uuid.UUID(subject), reason="asked for it")


if __name__ == "__main__":
    main(*sys.argv[1:])
