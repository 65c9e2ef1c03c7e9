"""Names for members that mean something for a day, or in a case, and nothing outside of it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import uuid
from datetime import date

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from vaultstore.errors import AccessDenied, SettingsError

__all__ = ["Pseudonyms"]

_KINDS = {"m": b"member", "c": b"conversation"}


class Pseudonyms:
    """Pseudonyms of ids: the same within one frame (a day, a case), unlinkable between frames without the secret.

    A pseudonym is the id under AES-256 as a permutation of its 16 bytes, with a key of its own for each frame and
    kind: it can be turned back here, so a desk need not keep a table of who was called what.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 32:
            raise SettingsError("the secret of pseudonyms takes at least 32 bytes")
        self._secret = bytes(secret)

    def __repr__(self) -> str:
        return "<Pseudonyms>"

    @staticmethod
    def frame(day: date | None = None, case: str | None = None) -> str:
        """The frame of a case, or of a day."""
        return f"case {case}" if case is not None else f"day {day:%Y-%m-%d}"

    def member(self, frame: str, member: uuid.UUID) -> str:
        """``m-`` and 26 letters and digits."""
        return self._name("m", frame, member)

    def conversation(self, frame: str, conversation: uuid.UUID) -> str:
        """``c-`` and 26 letters and digits."""
        return self._name("c", frame, conversation)

    def known(self, frame: str, pseudonym: str) -> uuid.UUID:
        """The id behind a pseudonym of this frame. One of another frame is the id of nobody.

        Raises AccessDenied (``pseudonym.unknown``) for what is no pseudonym.
        """
        kind, _, letters = pseudonym.partition("-")
        try:
            block = base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))
        except (binascii.Error, ValueError):
            block = b""
        if kind not in _KINDS or len(block) != 16:
            raise AccessDenied("this is no pseudonym of ours", reason="pseudonym.unknown")
        decryptor = self._cipher(kind, frame).decryptor()
        return uuid.UUID(bytes=decryptor.update(block) + decryptor.finalize())

    def _name(self, kind: str, frame: str, of: uuid.UUID) -> str:
        encryptor = self._cipher(kind, frame).encryptor()
        block = encryptor.update(of.bytes) + encryptor.finalize()
        return f"{kind}-{base64.b32encode(block).decode().rstrip('=').lower()}"

    def _cipher(self, kind: str, frame: str) -> Cipher[modes.ECB]:
        key = hmac.digest(
            self._secret, b"vaultstore/pseudonym/v1\0" + _KINDS[kind] + b"\0" + frame.encode(), hashlib.sha256
        )
        return Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305 - one block: a permutation, as intended
