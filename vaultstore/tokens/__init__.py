"""Purpose-bound tokens: issue, exchange, verify."""

from __future__ import annotations

from vaultstore.tokens.inspection import inspect
from vaultstore.tokens.issue import Issuer
from vaultstore.tokens.jwks import JwksKeys, jwks
from vaultstore.tokens.verify import Verifier

__all__ = ["Issuer", "JwksKeys", "Verifier", "inspect", "jwks"]
