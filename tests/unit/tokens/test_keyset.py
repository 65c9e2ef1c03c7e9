"""Public keys in a process of many threads, and reprs that give nothing away."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from vaultstore.tokens.claims import read_claims
from vaultstore.tokens.compact import split
from vaultstore.tokens.keyset import KeySet
from vaultstore.tokens.signing import TokenSigner

from .support import World


def test_threads_that_start_together_read_the_keys_once(world: World) -> None:
    barrier, asked = threading.Barrier(8), []

    def source() -> dict[str, bytes]:
        asked.append(1)
        time.sleep(0.02)
        return dict(world.keys.public_keys("tokens"))

    keys = KeySet(source, world.clock)

    def find(_: int) -> bool:
        barrier.wait()
        return keys.find("tokens:1") is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(find, range(8)))
    assert len(asked) == 1


def test_threads_issue_through_a_rotation(world: World) -> None:
    world.keys.rotate()
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: world.token(), range(40)))
    assert {world.verifier.verify(token).actor.id for token in tokens} == {"u-17"}


def test_no_repr_shows_a_key_a_token_or_a_claim(world: World) -> None:
    token = world.forge({"sub": "secret-actor"})
    keys = KeySet(lambda: world.keys.public_keys("tokens"), world.clock)
    keys.find("tokens:1")
    assert repr(keys) == "<KeySet of 1>"
    assert repr(split(token)) == "<Parts of a token>"
    assert repr(TokenSigner(world.keys)) == "<TokenSigner>"
    claims = {**world.claims(), "sub": "secret-actor"}
    assert repr(read_claims(claims)) == f"<Claims {claims['jti']}>"
