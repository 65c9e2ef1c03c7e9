"""Whatever bytes a policy file holds: a policy or a PolicyError, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import PolicyError
from vaultstore.policy import Lock, Policy
from vaultstore.policy.document import MAX_BYTES

from .catalogue import members
from .samples import SMALL

SHIPPED = [path.read_text("utf-8") for path in sorted(Path(__file__).parents[3].glob("policies/**/*.yaml"))]
HEAD = "version: 1\n"

YAML = (
    r"null ~ yes NO 1 -0 0x1f 0o8 1e999 .inf -.INF .nan 1_0 ' \" [ ] { } , # &a *a !!python/object:os.system ! <<: ..."
)
NAMES = (
    "version purposes categories never tests roles read write limits per except ttl contact sales_card sales.outreach"
)
VALUES = "Member Member.phone phone masked:sales_card day 30d 0s"
SPACED = [": ", "- ", "? ", "|\n", ">-\n", "---\n", "%YAML 1.3\n", "%TAG ! tag:x:\n", "\n", "\n  ", "\t", " "]
HOSTILE = ["\x00", "\x85", "\u2028", "\ufeff", "\ud800", "𝔸", "9" * 5000]
WORDS = st.sampled_from([*f"{YAML} {NAMES} {VALUES}".split(), *SPACED, *HOSTILE])


def survives(data: bytes) -> None:
    """Loads and binds, or raises PolicyError with the file's name."""
    try:
        policy = Policy.parse(data, "garbage.yaml")
    except PolicyError as error:
        message = str(error)
    else:
        message = "garbage.yaml:"
        report = policy.check(members())
        assert report.ok == (not report.errors)
    assert message.startswith("garbage.yaml:")
    assert "\n" not in message


@given(st.binary(max_size=200))
def test_any_bytes_give_a_policy_or_a_policy_error(data: bytes) -> None:
    survives(data)
    survives(HEAD.encode() + data)


@given(st.lists(WORDS, max_size=30).map("".join))
def test_any_yaml_gives_a_policy_or_a_policy_error(text: str) -> None:
    survives(text.encode("utf-8", "surrogatepass"))
    survives((HEAD + text).encode("utf-8", "surrogatepass"))


@given(st.data())
def test_any_edit_of_a_policy_gives_a_policy_or_a_policy_error(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([SMALL, *SHIPPED]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + data.draw(st.one_of(st.just(""), WORDS)) + text[end:]
    survives(text.encode("utf-8", "surrogatepass"))


@given(st.data())
def test_any_value_in_any_place_gives_a_policy_or_a_policy_error(data: st.DataObject) -> None:
    """Structure instead of characters: one `key: value` of the sample is given another value."""
    lines = SMALL.split("\n")
    where = data.draw(st.sampled_from([n for n, line in enumerate(lines) if ": " in line]))
    key = lines[where].partition(": ")[0]
    scalar = st.one_of(WORDS, st.text(max_size=8), st.integers().map(str))
    value = st.recursive(
        scalar,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
            st.lists(st.tuples(scalar, inner), max_size=3).map(
                lambda pairs: "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
            ),
        ),
        max_leaves=5,
    )
    lines[where] = f"{key}: {data.draw(value)}"
    survives("\n".join(lines).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "1:1: the file is empty: a policy file starts with `version: 1`"),
        (b"# nothing\n", "the file is empty"),
        (b"- version", "1:1: a policy file is a mapping, such as `version: 1`"),
        (b"version: 1\nroles: {a: \xff}", "2:12: not UTF-8"),
        ("version: 1".encode("utf-16"), "1:1: not UTF-8"),
        (b"version: 1\n? [a]\n: b\n", "2:3: a key must be text"),
        (b"version: 1\n? *a\n: b\n", "2:3: YAML anchors and aliases are not allowed"),
        (b"version: 1\nnever: " + b"[" * 10_000, "nested more than 12 deep"),
        (b"version: " + b"1" * 19, "1:10: a number of more than 18 digits"),
        (b"version: 1\n" + b"#" * MAX_BYTES, "1:1: the file has more than 256 KiB: split it"),
        (b"version: 1\nroles: {a: b\x07}", "2:13: not YAML: a control character"),
        (b"version: 1\n!!str a: 1", "2:1: YAML tags are not allowed"),
    ],
)
def test_what_is_no_plain_yaml_document_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(data, "garbage.yaml")
    assert expected in str(caught.value)


def test_a_merge_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    with pytest.raises(PolicyError, match=r"2:4: YAML anchors and aliases are not allowed"):
        Policy.parse(HEAD + bomb)


def test_a_byte_order_mark_is_no_part_of_the_policy() -> None:
    assert Policy.parse(b"\xef\xbb\xbf" + SMALL.encode()).purposes == Policy.parse(SMALL).purposes


def test_a_long_word_is_cut_in_the_message() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(f"version: 1\n{'p' * 100_000}: 1\n")
    assert len(str(caught.value)) < 200


@given(st.text(max_size=60))
def test_any_text_gives_a_lock_or_a_policy_error(text: str) -> None:
    for source in (text, "lock 1\n" + text):
        try:
            lock = Lock.parse(source)
        except PolicyError:
            continue
        assert lock.diff(lock) == ()


@pytest.mark.soak
@given(st.data())
def test_long_runs_of_edits_give_a_policy_or_a_policy_error(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([SMALL, *SHIPPED]))
    for _ in range(data.draw(st.integers(1, 12))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 200)))
        text = text[:start] + data.draw(st.one_of(st.just(""), WORDS, st.text(max_size=5))) + text[end:]
    survives(text.encode("utf-8", "surrogatepass"))
