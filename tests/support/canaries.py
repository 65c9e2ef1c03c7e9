"""Random values planted in every encrypted field, and the ways in which each could show."""

from __future__ import annotations

import base64
import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

__all__ = ["Canaries"]

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass
class Canaries:
    """Makes values for fields and finds them again in whatever came out."""

    seed: int
    planted: dict[str, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def member(self) -> dict[str, Any]:
        """A value for every encrypted field of Member."""
        born = date(1960, 1, 1) + timedelta(days=self._random.randrange(14_000))
        return {
            "name": self._keep("Member.name", "欧阳" + self._word()),
            "id_number": self._keep("Member.id_number", self._id_number(born)),
            "phone": self._keep("Member.phone", f"139{self._random.randrange(10**8):08d}"),
            "wechat": self._keep("Member.wechat", "wx" + self._word()),
            "email": self._keep("Member.email", f"{self._word()}@{self._word()}.example"),
            "address": self._keep("Member.address", f"上海市{self._word()}路"),
            # A date, a height and yes or no are too common to be looked for: what is rare about them is not the value.
            "birth_date": born,
            "height_cm": 173,
            "education": "硕士",
            "marital": "离异",
            "monthly_income": self._keep(
                "Member.monthly_income", Decimal(f"{self._random.randrange(10**9, 10**10)}.37")
            ),
            "house": "有",
            "car": "无",
            "wants": self._keep("Member.wants", self._word()),
        }

    def message(self) -> dict[str, Any]:
        """A value for the body of a ChatMessage."""
        return {"body": self._keep("ChatMessage.body", f"转账 {self._word()}")}

    def view(self) -> dict[str, Any]:
        """Values for the encrypted fields of ProfileView."""
        return {
            "viewed_id": self._keep("ProfileView.viewed_id", uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "viewed_at": datetime(2021, 11, 5, 23, 2, 21, tzinfo=UTC),
            "event": self._keep("ProfileView.event", self._word()),
        }

    def found_in(self, *texts: str | bytes) -> set[str]:
        """Names of the fields of which any form of any value shows in `texts`."""
        blobs = [t.encode(errors="surrogatepass") if isinstance(t, str) else t for t in texts]
        return {name for name, forms in self.planted.items() for form in forms for blob in blobs if form in blob}

    def _word(self) -> str:
        return "".join(self._random.choices("abcdefghijkmnpqrstuvwxyz23456789", k=14))

    def _id_number(self, born: date) -> str:
        digits = f"310101{born:%Y%m%d}{self._random.randrange(1000):03d}"
        return digits + "10X98765432"[sum(int(d) * w for d, w in zip(digits, _WEIGHTS, strict=True)) % 11]

    def _keep(self, name: str, value: Any) -> Any:
        text = value.hex if isinstance(value, uuid.UUID) else str(value)
        raw = value.bytes if isinstance(value, uuid.UUID) else text.encode()
        forms = {
            raw,
            text.encode(),
            str(value).encode(),
            raw.hex().encode(),
            raw.hex().upper().encode(),
            base64.b64encode(raw).rstrip(b"=")[:-2],
            quote(text).encode(),
            text.encode("unicode_escape"),
            text.encode("utf-16-le"),
        }
        self.planted.setdefault(name, []).extend(form for form in forms if len(form) >= 8)
        return value
