"""Who is at the other end of a connection: names that its certificate, or the kernel, vouches for."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

__all__ = ["Peer", "certificate_peer", "peer_name", "service_of", "socket_peer"]

_NAME = re.compile(r"(dns|uri|cn):(\S{1,255})", re.ASCII)
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """The names of a peer, in the form of `peer_name`. It may have several, or none that can be used."""

    names: frozenset[str]

    def __str__(self) -> str:
        return " ".join(sorted(self.names)) or "nameless"


def peer_name(text: str) -> str | None:
    """``dns:NAME``, ``uri:URI`` or ``cn:NAME`` as peers are compared, or None where it is none of these."""
    match = _NAME.fullmatch(text)
    if match is None or "*" in match[2]:
        return None
    return f"dns:{match[2].lower()}" if match[1] == "dns" else text


def certificate_peer(der: bytes | None) -> Peer:
    """The peer of a client certificate that TLS has verified, in DER.

    Its names are the alternative ones (RFC 5280, section 4.2.1.6); the common name counts only where there are none.
    """
    if der is None:
        return Peer(frozenset())
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _alternative_names(certificate) or _common_names(certificate)
    except ValueError:
        return Peer(frozenset())
    return Peer(frozenset(name for text in names if (name := peer_name(text))))


def socket_peer(connection: socket.socket) -> Peer:
    """The peer of a Unix socket: the account of the process that connected (SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return Peer(frozenset({f"uid:{uid}"}))


def service_of(peer: Peer, owners: Mapping[str, str]) -> str | None:
    """The one service that `peer` is, by peer name -> service; None where it is none, or names of two."""
    found = {owners[name] for name in peer.names if name in owners}
    return found.pop() if len(found) == 1 else None


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *(f"dns:{name}" for name in names.get_values_for_type(x509.DNSName)),
        *(f"uri:{name}" for name in names.get_values_for_type(x509.UniformResourceIdentifier)),
    ]


def _common_names(certificate: x509.Certificate) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [f"cn:{found[0].value!s}"] if len(found) == 1 else []
