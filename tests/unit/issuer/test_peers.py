"""Peers: a connection has the names that were vouched for, and a service is one of them."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vaultstore.issuer.peers import Peer, certificate_peer, peer_name, service_of, socket_peer
from vaultstore.issuer.rate import Rate


def der(common: list[str], *names: x509.GeneralName) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("common", "names", "found"),
    [
        (["crm"], [], {"cn:crm"}),
        (["relay"], [x509.DNSName("CRM.internal")], {"dns:crm.internal"}),  # the common name no longer counts
        (["relay"], [x509.UniformResourceIdentifier("spiffe://x/crm")], {"uri:spiffe://x/crm"}),
        (["x"], [x509.DNSName("a"), x509.DNSName("b")], {"dns:a", "dns:b"}),
        (["crm", "relay"], [], set()),
        ([], [], set()),
        (["crm with spaces"], [], set()),
        (["x"], [x509.DNSName("*.internal")], set()),
        (["x"], [x509.RFC822Name("crm@x.example")], {"cn:x"}),
    ],
)
def test_a_certificate_has_the_names_in_it(common: list[str], names: list[x509.GeneralName], found: set[str]) -> None:
    assert certificate_peer(der(common, *names)).names == found


def test_what_is_no_certificate_has_no_name() -> None:
    assert certificate_peer(None).names == set()
    assert certificate_peer(b"x").names == set()


def test_a_peer_is_a_service_only_where_its_names_agree() -> None:
    owners = {"dns:a": "crm", "dns:b": "crm", "dns:c": "relay"}
    assert service_of(Peer(frozenset({"dns:a"})), owners) == "crm"
    assert service_of(Peer(frozenset({"dns:a", "dns:b", "dns:unknown"})), owners) == "crm"
    assert service_of(Peer(frozenset({"dns:a", "dns:c"})), owners) is None
    assert service_of(Peer(frozenset({"cn:a"})), owners) is None
    assert service_of(Peer(frozenset()), owners) is None


def test_the_kernel_names_the_account_behind_a_socket() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert socket_peer(one).names == {f"uid:{os.getuid()}"}


@pytest.mark.parametrize("text", ["", "crm", "dns:", "uid:0", "dns:a b", "email:x@y", "dns:a\n", "DNS:a"])
def test_other_forms_are_no_name(text: str) -> None:
    assert peer_name(text) is None


def test_a_bucket_fills_up_again_and_holds_no_more_than_a_burst() -> None:
    now = [0.0]
    rate = Rate(2, lambda: now[0])
    assert [rate.admits("crm") for _ in range(5)] == [True] * 4 + [False]
    now[0] += 0.5
    assert [rate.admits("crm") for _ in range(2)] == [True, False]
    now[0] += 1000
    assert [rate.admits("crm") for _ in range(5)] == [True] * 4 + [False]
    for n in range(2000):
        rate.admits(f"made-up-{n}")
    assert rate.admits("crm")
