"""A service that reads members: started by test_reading_process.py, told on stdin what to do, a JSON line a step."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import select

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from vaultstore import Actor, Policy, Store, VaultKeys
from vaultstore.errors import VaultstoreError
from vaultstore.issuer import IssuerClient
from vaultstore.members.models import Base, Member


def main() -> None:
    told = json.load(sys.stdin)
    prefix, token = told["prefix"], ""
    client = IssuerClient(told["issuer"], cert=told["cert"], key=told["key"], ca=told["ca"])
    keys = VaultKeys(told["vault"], token="", mount=f"{prefix}transit", prefix=prefix, auth_mount=f"{prefix}jwt")
    policy = Policy.load(Path(__file__).parents[3] / "policies")
    with (
        client,
        keys,
        Store.open(told["database"], keys=keys, policy=policy, models=Base, issuer_client=client) as store,
    ):
        for step in told["steps"]:
            try:
                found: dict[str, Any] = {}
                if step["do"] == "get":
                    found["token"] = token = client.issue(step["assertion"], step["purpose"])
                elif step["do"] == "use":
                    token = step["token"]
                elif step["do"] == "show":
                    with store.session(token) as session:
                        members = session.scalars(select(Member)).all()
                        found["values"] = {str(member.id): str(getattr(member, step["field"])) for member in members}
                elif step["do"] == "issue":
                    store.issue(Actor("u-17", "matchmaker"), "sales.pool")
                elif step["do"] == "sign":
                    keys.sign("tokens", b"a token of my own")
                elif step["do"] == "credentials":
                    found["held"] = sorted(name for name in os.environ if "TOKEN" in name or name.startswith("VAULT"))
                print(json.dumps(found), flush=True)
            except VaultstoreError as error:
                print(json.dumps({"error": type(error).__name__}), flush=True)


main()
