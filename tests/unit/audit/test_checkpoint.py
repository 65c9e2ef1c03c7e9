"""Checkpoints and proofs in the forms of C2SP."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from vaultstore import merkle
from vaultstore.audit.checkpoint import Checkpoint, LeafProof, read_checkpoint
from vaultstore.errors import ProofError
from vaultstore.signed_note import COSIGNATURE, Note, NoteKey, cosign, sign_note

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = SECRET.public_key().public_bytes_raw()
ORIGIN = "example.com/vaultstore"
KEY = NoteKey(ORIGIN, PUBLIC)
WITNESS = NoteKey("witness.example", PUBLIC, COSIGNATURE)
LEAVES = [b"leaf %d" % i for i in range(7)]
NODES = {(0, i): merkle.leaf_hash(leaf) for i, leaf in enumerate(LEAVES)}
for level in (1, 2):
    for at in range(7 >> level):
        NODES[level, at] = merkle.node_hash(NODES[level - 1, 2 * at], NODES[level - 1, 2 * at + 1])
CHECKPOINT = Checkpoint(ORIGIN, 7, merkle.root([merkle.leaf_hash(leaf) for leaf in LEAVES]))


def proof_of(index: int) -> LeafProof:
    note = sign_note(CHECKPOINT.text, [(KEY, SECRET.sign)])
    return LeafProof(index, tuple(merkle.inclusion_proof(index, 7, NODES)), note)


def test_a_checkpoint_is_read_back() -> None:
    note = Note.parse(str(sign_note(CHECKPOINT.text, [(KEY, SECRET.sign)])))
    assert read_checkpoint(note, ORIGIN, [KEY])[0] == CHECKPOINT


def test_the_example_of_the_specification_is_read() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = Checkpoint.parse(text)
    assert (checkpoint.origin, checkpoint.size, checkpoint.text) == ("example.com/behind-the-sofa", 20852163, text)
    assert Checkpoint.parse(text + "an extension\n") == checkpoint


def test_a_checkpoint_takes_the_logs_own_signature_and_name() -> None:
    note = Note(CHECKPOINT.text, (cosign(CHECKPOINT.text, WITNESS, SECRET.sign, 1_700_000_000),))
    with pytest.raises(ProofError, match="by witnesses only"):
        read_checkpoint(note, ORIGIN, [KEY, WITNESS])
    with pytest.raises(ProofError, match="of another log"):
        read_checkpoint(sign_note(CHECKPOINT.text, [(KEY, SECRET.sign)]), "example.com/other", [KEY])


@pytest.mark.parametrize("index", range(7))
def test_a_proof_in_text_form_proves_its_leaf_and_no_other(index: int) -> None:
    proof = LeafProof.parse(str(proof_of(index)))
    assert proof.verify(LEAVES[index], ORIGIN, [KEY]) == CHECKPOINT
    with pytest.raises(ProofError, match="does not lead"):
        proof.verify(LEAVES[index - 1], ORIGIN, [KEY])


def test_extra_data_is_passed_over() -> None:
    text = str(proof_of(3)).replace("index", "extra YWJj\nindex", 1)
    assert LeafProof.parse(text).verify(LEAVES[3], ORIGIN, [KEY]) == CHECKPOINT


@given(st.data())
def test_no_byte_of_a_proof_can_change(data: st.DataObject) -> None:
    raw = bytearray(str(proof_of(3)).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 6))
    with pytest.raises(ProofError):
        LeafProof.parse(raw.decode(errors="replace")).verify(LEAVES[3], ORIGIN, [KEY])


HASH = "A" * 43 + "="
NO_CHECKPOINTS = ["", "x", "o\n1\n", f"o\n01\n{HASH}\n", f"o\n-1\n{HASH}\n", "o\n1\nAAAA\n", "\n1\nAAAA\n"]
NO_CHECKPOINTS += [f"o\n{2**63}\n{HASH}\n", f"o\n1\n{HASH}", f"o\n1\n\n{HASH}\n"]
PROOF = "c2sp.org/tlog-proof@v1"
NO_PROOFS = ["", PROOF, f"{PROOF}\n\n", "c2sp.org/tlog-proof@v2\nindex 0\n\n", f"{PROOF}\nindex x\n\nx\n"]
NO_PROOFS += [f"{PROOF}\nindex 0\nAAAA\n\nx\n", f"{PROOF}\nindex 0\n{(HASH + chr(10)) * 64}\nx\n"]


@pytest.mark.parametrize("text", NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        Checkpoint.parse(text)


@pytest.mark.parametrize("text", NO_PROOFS)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        LeafProof.parse(text)
