"""Tink itself opens what we seal, and we open what Tink seals."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import tink
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tink import aead, secret_key_access
from tink.proto import aes_gcm_pb2, tink_pb2

from vaultstore.codec import codec_for
from vaultstore.envelope import AadTemplate, key_id_of, open_sealed, seal
from vaultstore.errors import DecryptionError

aead.register()


def tink_aead(data_key: bytes, key_id: int) -> Any:
    """A Tink AEAD over a keyset that holds our raw data key under our key id."""
    key = {
        "keyData": {
            "typeUrl": "type.googleapis.com/google.crypto.tink.AesGcmKey",
            "value": base64.b64encode(aes_gcm_pb2.AesGcmKey(key_value=data_key).SerializeToString()).decode(),
            "keyMaterialType": "SYMMETRIC",
        },
        "status": "ENABLED",
        "keyId": key_id,
        "outputPrefixType": "TINK",
    }
    handle = tink.json_proto_keyset_format.parse(
        json.dumps({"primaryKeyId": key_id, "key": [key]}), secret_key_access.TOKEN
    )
    return handle.primitive(aead.Aead)


data_keys = st.binary(min_size=32, max_size=32)
key_ids = st.integers(1, 2**32 - 1)


@given(data_keys, key_ids, st.binary(min_size=12, max_size=12), st.binary(max_size=200), st.binary(max_size=200))
def test_tink_opens_what_we_seal(key: bytes, key_id: int, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
    assert tink_aead(key, key_id).decrypt(seal(AESGCM(key), key_id, nonce, plaintext, aad), aad) == plaintext


@given(data_keys, key_ids, st.binary(max_size=200), st.binary(max_size=200))
def test_we_open_what_tink_seals(key: bytes, key_id: int, plaintext: bytes, aad: bytes) -> None:
    sealed = tink_aead(key, key_id).encrypt(plaintext, aad)
    assert key_id_of(sealed) == key_id
    assert open_sealed(AESGCM(key), sealed, aad) == plaintext


def test_tink_and_we_refuse_a_moved_value_alike() -> None:
    key, row, subject = bytes(range(32)), bytes(16), bytes(range(16))
    here, there = (AadTemplate(name, "contact").of(row, subject) for name in ("members.phone", "members.email"))
    sealed = seal(AESGCM(key), 7, bytes(12), codec_for(str).encode("13812345678"), here)
    assert codec_for(str).decode(tink_aead(key, 7).decrypt(sealed, here)) == "13812345678"
    with pytest.raises(tink.TinkError):
        tink_aead(key, 7).decrypt(sealed, there)
    with pytest.raises(DecryptionError):
        open_sealed(AESGCM(key), tink_aead(key, 7).encrypt(b"a", here), there)


def test_a_keyset_that_tink_made_gives_the_data_key_that_opens_its_output() -> None:
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    text = tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    (entry,) = json.loads(text)["key"]
    assert entry["outputPrefixType"] == tink_pb2.OutputPrefixType.Name(tink_pb2.TINK)
    material = aes_gcm_pb2.AesGcmKey.FromString(base64.b64decode(entry["keyData"]["value"]))
    sealed = handle.primitive(aead.Aead).encrypt(b"13812345678", b"aad")
    assert key_id_of(sealed) == entry["keyId"]
    assert open_sealed(AESGCM(material.key_value), sealed, b"aad") == b"13812345678"
