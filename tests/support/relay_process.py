"""A relay's worker in a process of its own: ``python -m tests.support.relay_process FOLDER SECONDS READY``.

It is made to be killed. Its carrier is a file with one line for each key that it placed, which is the idempotency that
a real carrier promises. `SECONDS` is how far its clock is ahead, so that what a killed worker left behind is old
enough.
"""

from __future__ import annotations

import fcntl
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from tests.support.profiles import SHIPPED_POLICY
from vaultstore import Actor, LocalKeys, Policy, Store
from vaultstore.members.carriers import Contact
from vaultstore.members.models import Base
from vaultstore.members.relay import ContactRules
from vaultstore.members.relay_worker import RelayWorker

RULES = ContactRules(quiet_from=datetime.min.time(), quiet_until=datetime.min.time())
"""No quiet hours: tests run at any."""


class FileCarrier:
    """Places a contact by writing its key down, once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def place(self, contact: Contact) -> None:
        """Write it down unless it is there."""
        with self._path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if f"{contact.key}\n" not in file.read():
                file.write(f"{contact.key}\n")
                file.flush()


def main() -> None:
    """Send what is queued."""
    folder, ahead, ready = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    store = Store.open(
        f"sqlite:///{folder / 'members.db'}",
        keys=LocalKeys.open(folder / "keys.json"),
        policy=Policy.load(SHIPPED_POLICY),
        models=Base,
    )
    desk = store.issue(Actor("relay-desk", role="relay_desk"), "relay.desk")

    def number(member: uuid.UUID) -> str:
        return store.issue(Actor("relay-1", role="telephony"), "relay.telephony", subjects=[member])

    worker = RelayWorker(
        store,
        FileCarrier(folder / "placed"),
        desk=lambda: desk,
        number=number,
        rules=RULES,
        clock=lambda: datetime.now(UTC) + timedelta(seconds=ahead),
    )
    ready.touch()
    worker.run()


if __name__ == "__main__":
    main()
