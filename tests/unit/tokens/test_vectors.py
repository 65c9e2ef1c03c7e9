"""The vectors of docs/formats/tokens.md."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vaultstore import errors
from vaultstore.policy.model import Purpose, Requirements
from vaultstore.tokens import Verifier

from .support import Policy

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "tokens.json").read_text())


def verifier() -> Verifier:
    policy = Policy(
        *(
            Purpose(
                name,
                roles=frozenset(given["roles"]),
                ttl=timedelta(seconds=given["ttl"]),
                requires=Requirements(subjects=given.get("subjects"), case=given.get("case", False)),
            )
            for name, given in VECTORS["purposes"].items()
        )
    )
    policy.digests = {name: given["digest"] for name, given in VECTORS["purposes"].items()}
    keys = {name: bytes.fromhex(raw) for name, raw in VECTORS["public_keys"].items()}
    return Verifier(lambda: keys, policy, VECTORS["issuer"], lambda: datetime.fromtimestamp(VECTORS["now"], UTC))


@pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: vector["name"])
def test_vectors_of_tokens(vector: dict[str, Any]) -> None:
    if vector["error"] is None:
        assert verifier().verify(vector["token"]).jti
    else:
        with pytest.raises(getattr(errors, vector["error"])):
            verifier().verify(vector["token"])
