"""What every object that holds keys or tokens has in common: it shows nothing and cannot be copied out."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

__all__ = ["SecretHandle"]


class SecretHandle:
    """A handle to secrets: an opaque repr, and no pickling, copying or deep copying."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds secrets: it can't be pickled or copied")
