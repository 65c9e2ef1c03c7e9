"""A certificate authority, an identity provider over real HTTP, and the issuer as a process of its own."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PROVIDER = "https://id.example"
AUDIENCE = "vaultstore-issuer"
COMMAND = [sys.executable, "-m", "vaultstore", "issuer", "serve"]


class Authority:
    """Signs certificates and writes them as PEM files."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / "ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(
        self,
        name: str,
        *names: x509.GeneralName,
        server: bool = False,
        ends: timedelta = timedelta(hours=1),
        mode: int = 0o600,
    ) -> tuple[Path, Path]:
        """Paths of a certificate and its key. `name` is the common name; `names` the alternative ones."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=2))
            .not_valid_after(now + ends)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        stem = self.folder / f"{name}-{x509.random_serial_number() % 10**8}"
        certificate, private = stem.with_suffix(".pem"), stem.with_suffix(".key")
        certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        private.chmod(mode)
        return certificate, private


class Provider:
    """An OIDC provider: signing keys, a JWKS over HTTP, and whatever assertion a test asks for."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {
            "ed": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
            "ec": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "rsa": ("RS256", rsa.generate_private_key(65537, 2048)),
        }
        self.asked = 0
        self.broken = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = json.dumps(provider.jwks()).encode()
                self.send_response(500 if provider.broken else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def jwks(self) -> dict[str, Any]:
        return {"keys": [public_jwk(name, algorithm, key) for name, (algorithm, key) in self.keys.items()]}

    def assertion(self, kid: str = "ed", header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A sound assertion of matchmaker u-17, but for what is given; a claim of None is left out."""
        algorithm, key = self.keys[kid]
        now = int(time.time())
        content = {
            "iss": PROVIDER,
            "aud": AUDIENCE,
            "sub": "u-17",
            "iat": now,
            "exp": now + 300,
            "role": "matchmaker",
            "store_id": "sh-01",
            **claims,
        }
        content = {name: value for name, value in content.items() if value is not None}
        return jwt.encode(content, key, algorithm, headers={"kid": kid, **(header or {})})


def public_jwk(kid: str, algorithm: str, key: Any) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)  # type: ignore[call-overload]
    return {**made, "kid": kid, "use": "sig", "alg": algorithm}


def config(listen: str, provider: Provider, services: str, more: str = "") -> str:
    return f"""\
[listen]
{listen}

[oidc]
issuer = "{PROVIDER}"
audience = "{AUDIENCE}"
jwks = "{provider.url}"
attributes = {{ store = "store_id" }}

{more}

{services}
"""


class Serving:
    """`vaultstore issuer serve` as a process."""

    def __init__(self, folder: Path, config: str, env: Mapping[str, str] | None = None, name: str = "issuer") -> None:
        self.folder, self.file, self.log = folder, folder / f"{name}.toml", folder / f"{name}.log"
        self.file.write_text(config)
        self._env = {**os.environ, **(env or {})}
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--dir", str(self.folder), "--config", str(self.file)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._env,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), self.log.read_text()
        self.url = line.removeprefix("listening on ").strip()
        return self

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def serving(folder: Path, config: str, env: Mapping[str, str] | None = None, name: str = "issuer") -> Iterator[Serving]:
    made = Serving(folder, config, env, name).start()
    try:
        yield made
    finally:
        made.kill(signal.SIGTERM)


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
