"""Identity providers to sign in with: a real one in a process, and one whose keys and tokens a test makes itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

CLIENT, BACK = "tokenworks", "http://127.0.0.1/back"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Provider:
    """`oidc-provider-mock`, as a process of its own; started again it has another key."""

    def __init__(self, log: Path, people: dict[str, dict[str, Any]], *, age_s: int = 3600) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._arguments = ["-p", str(self.port), "-e", str(age_s)]
        for sub, claims in people.items():
            self._arguments += ["--user-claims", json.dumps({"sub": sub, **claims})]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", *self._arguments], stdout=log, stderr=log
            )
        until = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{self.issuer}/.well-known/openid-configuration").raise_for_status()
            except httpx.TransportError:
                assert time.monotonic() < until, self._log.read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def sign_in(self, sub: str, *, client: str = CLIENT) -> str:
        """Go through the authorization code flow as a browser would; return the ID token."""
        asked = {"client_id": client, "redirect_uri": BACK, "response_type": "code", "scope": "openid email"}
        shown = httpx.post(f"{self.issuer}/oauth2/authorize", params=asked, data={"sub": sub})
        code = parse_qs(urlsplit(shown.headers["location"]).query)["code"][0]
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
        given = httpx.post(f"{self.issuer}/oauth2/token", data=body, auth=(client, "any")).raise_for_status()
        return str(given.json()["id_token"])


class Issuer:
    """An issuer at an address of this machine: what it publishes and signs is up to the test."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {
            "rsa": rsa.generate_private_key(65537, 2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }
        self.more: list[Any] = []  # further entries of the key set, as they are
        self.about: dict[str, Any] = {}
        self.asked = 0
        self.status = 200
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = issuer.document(self.path)
                self.send_response(issuer.status)
                if issuer.status == 302:
                    self.send_header("location", issuer.url + "/elsewhere")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def document(self, path: str) -> bytes:
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.about}).encode()
        keys = [{**json.loads(_algorithm(key).to_jwk(key.public_key())), "kid": kid} for kid, key in self.keys.items()]
        return json.dumps({"keys": [*keys, *self.more]}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = time.time()
        whole = {"iss": self.url, "aud": CLIENT, "sub": "ada", "groups": ["staff"], "iat": now, "exp": now + 600}
        whole |= changes
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, kid: str = "rsa", *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        algorithm = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid[:3].rstrip("0123456789")]
        return jwt.encode(self.claims(**changes), self.keys[kid], algorithm, headers={"kid": kid, **(headers or {})})

    def confused(self, kid: str = "rsa") -> str:
        """Return a token that is signed with the public key as if that were a shared secret."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self.keys[kid].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = {"alg": "HS256", "typ": "JWT", "kid": kid}
        signed = b".".join(coded(json.dumps(part).encode()) for part in (head, self.claims()))
        return (signed + b"." + coded(hmac.new(public, signed, hashlib.sha256).digest())).decode()

    def unsigned(self) -> str:
        head = {"alg": "none", "kid": "rsa"}
        return b".".join([*(coded(json.dumps(part).encode()) for part in (head, self.claims())), b""]).decode()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def coded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _algorithm(key: Any) -> Any:
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm
    return ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else OKPAlgorithm
