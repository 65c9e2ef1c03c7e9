"""Signed notes and cosignatures: what others have published verifies, and what is touched does not."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import ProofError
from vaultstore.signed_note import COSIGNATURE, Note, NoteKey, NoteSignature, cosign, sign_note

# The example of Go's note package, whose authors publish key, text and signature.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENCRYPTED = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\N{EM DASH} PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes_raw()
LOG = NoteKey("example.com/log", PUBLIC)
WITNESS = NoteKey("witness.example/w1", PUBLIC, COSIGNATURE)
TEXT = "example.com/log\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
texts = st.lists(lines, min_size=1, max_size=5).map(lambda parts: "\n".join(parts) + "\n")


def test_a_note_that_others_published_verifies() -> None:
    note = Note.parse(ENCRYPTED)
    assert [signed.key.name for signed in note.verify([NoteKey.parse(PETER)])] == ["PeterNeumann"]
    assert str(note) == ENCRYPTED
    assert str(NoteKey.parse(PETER)) == PETER


def test_a_published_note_that_was_altered_does_not() -> None:
    with pytest.raises(ProofError, match="was altered"):
        Note.parse(ENCRYPTED.replace("don't", "do")).verify([NoteKey.parse(PETER)])


# The examples in the specifications of C2SP (signed-note, tlog-cosignature); their keys are not given there.
OF_THE_NOTE = (
    "Ognuno sta solo sul cuor della terra\n"
    "trafitto da un raggio di sole:\n"
    "\n"
    "ed è subito sera.\n"
    "\n"
    "\N{EM DASH} quasimodo.example/salvatore "
    "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
OF_THE_COSIGNATURE = (
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "\N{EM DASH} example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\N{EM DASH} witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


def test_the_examples_of_the_specifications_are_read_as_they_are_meant() -> None:
    note = Note.parse(OF_THE_NOTE)
    assert str(note) == OF_THE_NOTE
    assert note.text.count("\n") == 4  # the text has an empty line of its own
    assert [(s.name, len(s.value)) for s in note.signatures] == [("quasimodo.example/salvatore", 64)]
    cosigned = Note.parse(OF_THE_COSIGNATURE)
    assert str(cosigned) == OF_THE_COSIGNATURE
    own, witness = cosigned.signatures
    assert (own.name, len(own.value)) == ("example.com/behind-the-sofa", 64)
    assert (witness.name, len(witness.value)) == ("witness.example.com/w1", 8 + 64)
    assert int.from_bytes(witness.value[:8], "big") == 1_679_315_147  # the time that the specification names


def test_a_key_id_is_the_name_and_the_key() -> None:
    for text in (PETER.replace("Peter", "Pater"), PETER.replace("c74f20a3", "c74f20a4"), PETER[:-1] + "X"):
        with pytest.raises(ProofError):
            NoteKey.parse(text)


@given(texts)
def test_every_text_that_can_be_signed_is_read_back(text: str) -> None:
    note = sign_note(text, [(LOG, SECRET.sign)])
    read = Note.parse(str(note).encode())
    assert read == note
    assert [signed.key for signed in read.verify([LOG])] == [LOG]


@given(texts, st.data())
def test_no_character_of_a_note_can_change(text: str, data: st.DataObject) -> None:
    raw = bytearray(str(sign_note(text, [(LOG, SECRET.sign)])).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProofError):
        Note.parse(bytes(raw)).verify([LOG])


def test_a_cosignature_has_a_time_and_is_not_taken_for_the_logs_own() -> None:
    note = sign_note(TEXT, [(LOG, SECRET.sign)]).with_signatures([cosign(TEXT, WITNESS, SECRET.sign, 1_679_315_147)])
    assert [(s.key, s.time) for s in Note.parse(str(note)).verify([LOG, WITNESS])] == [
        (LOG, None),
        (WITNESS, 1_679_315_147),
    ]
    # The same 64 bytes under the other type, or another time, are no signature.
    bare = NoteSignature(LOG.name, LOG.id, note.signatures[1].value[8:])
    later = NoteSignature(WITNESS.name, WITNESS.id, (2_000_000_000).to_bytes(8, "big") + note.signatures[1].value[8:])
    for forged in (bare, later):
        with pytest.raises(ProofError, match="was altered"):
            Note(TEXT, (forged,)).verify([LOG, WITNESS])


def test_lines_of_unknown_keys_are_ignored_and_alone_are_not_enough() -> None:
    other = NoteKey("other.example", PUBLIC)
    note = sign_note(TEXT, [(other, SECRET.sign), (LOG, SECRET.sign)])
    assert [signed.key for signed in note.verify([LOG])] == [LOG]
    with pytest.raises(ProofError, match="no key that is trusted here"):
        note.verify([NoteKey("third.example", PUBLIC)])
    with pytest.raises(ProofError, match="no key"):
        note.verify([NoteKey(LOG.name, bytes(32))])  # the same name with another key


def test_one_bad_line_of_a_known_key_spoils_the_note() -> None:
    good = sign_note(TEXT, [(LOG, SECRET.sign)])
    bad = NoteSignature(LOG.name, LOG.id, bytes(64))
    with pytest.raises(ProofError, match="was altered"):
        Note(TEXT, (*good.signatures, bad)).verify([LOG])


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        TEXT + "\n— example.com/log\n",
        TEXT + "\n- example.com/log AAAAAAAA\n",
        TEXT + "\n— example.com/log AAAAAAAA",
        TEXT + "\n— example.com/log AAAA AAAA\n",
        TEXT + "\n— example.com/log !!!!\n",
        TEXT + "\n— exam+ple AAAAAAAAAAA=\n",
        TEXT + "\n— example.com/log AAAAAAAAAAB=\n",
        "a\tb\n\n— example.com/log AAAAAAAAAAA=\n",
        b"\xff\n\n\xe2\x80\x94 x AAAAAAAAAAA=\n",
        "x\n\n" + "— x AAAAAAAAAAA=\n" * 101,
        "x" * 2_000_000,
    ],
)
def test_what_is_no_note_is_refused(broken: str | bytes) -> None:
    with pytest.raises(ProofError):
        Note.parse(broken).verify([LOG])


@given(st.binary(max_size=200))
def test_whatever_comes_in_it_is_a_note_or_a_proof_error(raw: bytes) -> None:
    with contextlib.suppress(ProofError):
        Note.parse(raw)
