"""Write the vectors of canonical.py, codec.py, envelope.py and merkle.py: one small function a file.

A vector is a success with every input fixed, or one failure with the name of the error's class. Bytes are in
hexadecimal. Run it after a deliberate change of a format only: the files are what other implementations are held to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.canonical import canonical_json, pae
from vaultstore.codec import codec_for, mask_codec
from vaultstore.envelope import AadTemplate, seal, wrap_context
from vaultstore.merkle import leaf_hash, root

HERE = Path(__file__).parent

Vector = dict[str, Any]


class Marital(Enum):
    """The enumeration of the vectors of type `enum`; its members are stored by name."""

    UNMARRIED = "未婚"
    DIVORCED = "离异"


TYPES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "str": (str, str),
    "bytes": (bytes, bytes.fromhex),
    "int": (int, int),
    "bool": (bool, bool),
    "decimal": (Decimal, Decimal),
    "date": (date, date.fromisoformat),
    "datetime": (datetime, datetime.fromisoformat),
    "uuid": (UUID, UUID),
    "enum": (Marital, Marital.__getitem__),
    "json": (Any, lambda value: value),
}
"""Name of a type -> the Python type, and how a vector's value becomes one."""


def fixed(label: str, size: int) -> bytes:
    """Bytes that look random and are the same in every run."""
    return hashlib.shake_256(label.encode()).digest(size)


def ids(label: str) -> bytes:
    """A UUID of version 7, made from `label`."""
    raw = bytearray(fixed(label, 16))
    raw[6], raw[8] = raw[6] & 0x0F | 0x70, raw[8] & 0x3F | 0x80
    return bytes(raw)


def canonical() -> list[Vector]:
    lists = {
        "pae of no part": [],
        "pae of one empty part": [b""],
        "pae of one part": [b"test"],
        "pae of two parts": [b"ab", b"c"],
        "pae of the same bytes split elsewhere": [b"a", b"bc"],
    }
    vectors: list[Vector] = [
        {"name": name, "parts": [part.hex() for part in parts], "pae": pae(*parts).hex()}
        for name, parts in lists.items()
    ]
    values = {
        "json sorts keys by UTF-16 code units": {"\ufb33": 1, "😀": 2, "é": 3, "1": 4, "": 5},
        "json escapes no more than it must": '\u20ac$\u000f\nA\'B"\\\\"/\u2028\u007f',
        "json numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001, -0.0, 1.0],
        "json integers at the limits": [2**53 - 1, -(2**53) + 1],
        "json literals": [None, True, False, [], {}],
    }
    vectors += [{"name": name, "value": v, "json": canonical_json(v).hex()} for name, v in values.items()]
    refused: dict[str, Any] = {
        "json integer beyond 2^53 - 1": 2**53,
        "json integer beyond -(2^53 - 1)": -(2**53),
        "json lone surrogate": "\ud800",
        "json lone surrogate in a key": {"\ud800": 1},
    }
    return vectors + [{"name": n, "value": v, "error": "UnsupportedOperation"} for n, v in refused.items()]


def values() -> list[Vector]:
    accepted: list[tuple[str, str, Any, int]] = [
        ("text", "str", "13812345678", 16),
        ("empty text", "str", "", 16),
        ("text that is not ASCII", "str", "上海市静安区", 16),
        ("text that fills one block", "str", "fourteen bytes", 16),
        ("text that needs a second block for its padding", "str", "fifteen bytes!!", 16),
        ("text that ends like padding", "str", "a\u0080\u0000", 16),
        ("text of the conversation category", "str", "你好", 128),
        ("text without blocks", "str", "a", 1),
        ("bytes", "bytes", "00ff80", 16),
        ("zero", "int", "0", 16),
        ("an integer of one byte", "int", "127", 16),
        ("an integer that needs a sign byte", "int", "128", 16),
        ("a negative integer", "int", "-128", 16),
        ("an integer of 17 bytes", "int", str(2**128), 32),
        ("false", "bool", False, 16),
        ("true", "bool", True, 16),
        ("a decimal keeps its exponent", "decimal", "12000.00", 16),
        ("another decimal of that value", "decimal", "1.2E+4", 16),
        ("a negative decimal zero", "decimal", "-0.0", 16),
        ("a date", "date", "1990-06-15", 16),
        ("a date before 1970", "date", "1969-12-31", 16),
        ("the first date", "date", "0001-01-01", 16),
        ("a time", "datetime", "2024-03-01T12:00:00.000250+00:00", 16),
        ("the same time, written in Shanghai", "datetime", "2024-03-01T20:00:00.000250+08:00", 16),
        ("a time before 1970", "datetime", "1969-12-31T23:59:59.999999+00:00", 16),
        ("a UUID", "uuid", "018df9a0-1111-7000-8000-000000000001", 32),
        ("a member of an enumeration, by name", "enum", "DIVORCED", 16),
        ("a JSON object", "json", {"身高": [165, 180], "smokes": False, "note": None}, 128),
        ("a mask: JSON text in blocks of 16", "json", "*******5678", 16),
    ]
    vectors: list[Vector] = []
    for name, kind, value, pad in accepted:
        python_type, read = TYPES[kind]
        encoded = codec_for(python_type, pad=pad).encode(read(value))
        vectors.append({"name": name, "type": kind, "value": value, "pad": pad, "encoded": encoded.hex()})
    return vectors + refused_values() + malformed_values()


def refused_values() -> list[Vector]:
    refused: list[tuple[str, str, Any]] = [
        ("a lone surrogate", "str", "\ud800"),
        ("a decimal NaN", "decimal", "NaN"),
        ("a decimal infinity", "decimal", "-Infinity"),
        ("a time without a zone", "datetime", "2024-03-01T12:00:00"),
        ("a time that is before year 1 in UTC", "datetime", "0001-01-01T00:00:00+08:00"),
        ("JSON null", "json", None),
        ("a JSON integer beyond 2^53 - 1", "json", {"n": 2**53}),
    ]
    return [{"name": n, "type": kind, "value": v, "error": "UnsupportedOperation"} for n, kind, v in refused]


def malformed_values() -> list[Vector]:
    malformed = {
        "nothing": ("str", b""),
        "only padding": ("str", b"\x80".ljust(16, b"\0")),
        "only zeros": ("str", bytes(16)),
        "a type byte without padding": ("str", b"\x01"),
        "no padding": ("str", b"\x01" + b"a" * 15),
        "padding that ends in another byte": ("str", b"\x01a\x80".ljust(15, b"\0") + b"\x01"),
        "another type": ("str", codec_for(bytes).encode(b"a")),
        "an unknown type": ("str", b"\x0ba\x80".ljust(16, b"\0")),
        "text that is not UTF-8": ("str", b"\x01\xff\x80".ljust(16, b"\0")),
        "an integer without bytes": ("int", b"\x03\x80".ljust(16, b"\0")),
        "an integer not in its shortest form": ("int", b"\x03\x00\x01\x80".ljust(16, b"\0")),
        "a bool of 2": ("bool", b"\x04\x02\x80".ljust(16, b"\0")),
        "a decimal with an underscore": ("decimal", b"\x051_0\x80".ljust(16, b"\0")),
        "a decimal with a small e": ("decimal", b"\x051e+4\x80".ljust(16, b"\0")),
        "a decimal NaN, stored": ("decimal", b"\x05NaN\x80".ljust(16, b"\0")),
        "a date of 3 bytes": ("date", b"\x06\x00\x00\x01\x80".ljust(16, b"\0")),
        "a date after 9999": ("date", b"\x06\x7f\xff\xff\xff\x80".ljust(16, b"\0")),
        "a time after 9999": ("datetime", b"\x07\x7f" + b"\xff" * 7 + b"\x80"),
        "a UUID of 15 bytes": ("uuid", b"\x08" + bytes(range(1, 16)) + b"\x80".ljust(16, b"\0")),
        "a member that the enumeration lacks": ("enum", b"\x09WIDOWED\x80".ljust(16, b"\0")),
        "JSON cut short": ("json", b'\x0a{"a":\x80'.ljust(16, b"\0")),
        "JSON with a key twice": ("json", b'\x0a{"a":1,"a":2}\x80'.ljust(16, b"\0")),
        "JSON with space around it": ("json", b"\x0a 1\x80".ljust(16, b"\0")),
        "JSON NaN": ("json", b"\x0aNaN\x80".ljust(16, b"\0")),
        "JSON null, stored": ("json", b"\x0anull\x80".ljust(16, b"\0")),
    }
    return [
        {"name": name, "type": kind, "encoded": data.hex(), "error": "DecryptionError"}
        for name, (kind, data) in malformed.items()
    ]


def cell(**changes: Any) -> Vector:
    """Where a cell lies: the inputs of its AAD."""
    place = {
        "context": "members.phone",
        "category": "contact",
        "row": ids("row").hex(),
        "subject": ids("subject").hex(),
    }
    return place | {"scope": ""} | changes


def aad_of(place: Vector) -> bytes:
    row, subject, scope = (bytes.fromhex(place[part]) for part in ("row", "subject", "scope"))
    return AadTemplate(place["context"], place["category"]).of(row, subject, scope)


def aad() -> list[Vector]:
    places = {
        "a phone number": cell(),
        "its projection for sales": cell(context="members.phone_sales_card", category="sales_card"),
        "a message: the scope is the conversation": cell(
            context="chat_messages.body", category="conversation", scope=ids("conversation").hex()
        ),
        "a context name that is not ASCII": cell(context="会员.电话"),
    }
    vectors = [{"name": name, **place, "aad": aad_of(place).hex()} for name, place in places.items()]
    refused = {
        "a row key of 15 bytes": cell(row=ids("row")[1:].hex()),
        "a subject of 17 bytes": cell(subject=ids("subject").hex() + "00"),
        "a scope of 1 byte": cell(scope="00"),
    }
    return vectors + [{"name": n, **place, "error": "UnsupportedOperation"} for n, place in refused.items()]


def wrap() -> list[Vector]:
    subject, scope = ids("subject"), ids("conversation")

    def given(name: str, subject: bytes, category: str, scope: bytes) -> Vector:
        return {"name": name, "subject": subject.hex(), "category": category, "scope": scope.hex()}

    accepted = [("a data key for contact", "contact", b""), ("a data key for one conversation", "conversation", scope)]
    return [
        *(given(n, subject, c, s) | {"context": wrap_context(subject, c, s).hex()} for n, c, s in accepted),
        given("a subject of 15 bytes", subject[1:], "contact", b"") | {"error": "UnsupportedOperation"},
        given("a scope of 15 bytes", subject, "conversation", scope[1:]) | {"error": "UnsupportedOperation"},
    ]


def ciphertext() -> list[Vector]:
    data_key = fixed("data key", 32)

    def sealed(name: str, place: Vector, plaintext: bytes, key_id: int = 0x5EED0001) -> Vector:
        nonce = fixed("nonce " + name, 12)
        whole = seal(AESGCM(data_key), key_id, nonce, plaintext, aad_of(place))
        inputs = {"data_key": data_key.hex(), "key_id": key_id, "nonce": nonce.hex(), "plaintext": plaintext.hex()}
        return {"name": name, **place, **inputs, "ciphertext": whole.hex()}

    good = sealed("a phone number", cell(), codec_for(str).encode("13812345678"))
    message = cell(context="chat_messages.body", category="conversation", scope=ids("conversation").hex())
    whole = bytes.fromhex(good["ciphertext"])

    def refused(name: str, place: Vector, data: bytes, key: bytes = data_key) -> Vector:
        return {"name": name, **place, "data_key": key.hex(), "ciphertext": data.hex(), "error": "DecryptionError"}

    def flipped(at: int) -> bytes:
        return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]

    return [
        good,
        sealed("its projection", cell(context="members.phone_sales_card", category="sales_card"), masked()),
        sealed("a message", message, codec_for(str, pad=128).encode("你好")),
        sealed("the largest key id", cell(), codec_for(str).encode(""), 0xFFFFFFFF),
        sealed("no plaintext at all: the shortest ciphertext", cell(), b""),
        refused("moved to another row", cell(row=ids("another row").hex()), whole),
        refused("moved to another column", cell(context="members.email"), whole),
        refused("moved to another subject", cell(subject=ids("another subject").hex()), whole),
        refused("moved to another category", cell(category="identity"), whole),
        refused("moved to another scope", cell(scope=ids("conversation").hex()), whole),
        refused("another data key", cell(), whole, fixed("another data key", 32)),
        refused("a bit of the nonce flipped", cell(), flipped(5)),
        refused("a bit of the ciphertext flipped", cell(), flipped(17)),
        refused("a bit of the tag flipped", cell(), flipped(-1 + len(whole))),
        refused("the last byte missing", cell(), whole[:-1]),
        refused("a byte too many", cell(), whole + b"\0"),
        refused("32 bytes", cell(), whole[:32]),
        refused("nothing", cell(), b""),
        refused("version 0", cell(), b"\0" + whole[1:]),
        refused("version 2", cell(), b"\2" + whole[1:]),
        refused("key id 0", cell(), whole[:1] + bytes(4) + whole[5:]),
    ]


def masked() -> bytes:
    return mask_codec.encode("*******5678")


def merkle() -> list[Vector]:
    def vector(name: str, leaves: list[bytes]) -> Vector:
        return {"name": name, "leaves": [x.hex() for x in leaves], "root": root([*map(leaf_hash, leaves)]).hex()}

    # The leaves of certificate-transparency's reference tests: their roots are known from there.
    known = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [bytes.fromhex(leaf) for leaf in known]
    vectors = [vector(f"{count} leaves", leaves[:count]) for count in range(len(leaves) + 1)]
    return [*vectors, vector("100 leaves", [b"%d" % n for n in range(100)])]


FILES: dict[str, tuple[str, Callable[[], list[Vector]]]] = {
    "canonical": ("PAE and RFC 8785 JSON, docs/formats/README.md.", canonical),
    "values": ("Values as the bytes that are sealed, docs/formats/values.md.", values),
    "aad": ("The AAD of a cell, docs/formats/aad.md.", aad),
    "wrap_context": ("What a wrapped data key is bound to, docs/formats/wrap-context.md.", wrap),
    "ciphertext": ("Sealed values, docs/formats/ciphertext.md.", ciphertext),
    "merkle": ("Merkle trees, docs/formats/merkle.md.", merkle),
}


def render(name: str) -> str:
    """The text of the file called `name`."""
    about, make = FILES[name]
    content = {"about": f"{about} Written by generate.py.", "vectors": make()}
    # Escaped to ASCII: a lone surrogate has no other form in a file.
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    for file in FILES:
        (HERE / f"{file}.json").write_text(render(file))
