"""The registry, its Knot and its PostgreSQL as processes, and the clients that talk to them: curl and openssl."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness.process import Daemon, free_port, start, wait_for

COMMAND = Path(sys.executable).with_name("iot-registry")


@dataclass
class KnotServer:
    """The Knot that `iot-registry dns-config` describes."""

    folder: Path
    port: int
    daemon: Daemon | None = None

    @property
    def config(self) -> Path:
        return self.folder / "knot.conf"

    def start(self, zone: str = "home.example") -> KnotServer:
        # A killed knotd that is not reaped yet makes its pid file look valid.
        (self.folder / "run" / "knot.pid").unlink(missing_ok=True)
        self.daemon = start(
            "knotd",
            ["knotd", "-c", self.config],
            log=self.folder / "knot.log",
            ready=lambda: self.answers(zone),
            timeout=60,
        )
        return self

    def answers(self, zone: str) -> bool:
        try:
            return bool(self.ask(zone, "DNSKEY", timeout=0.5).answer)
        except (OSError, dns.exception.DNSException):
            return False

    def ask(self, name: str, rdtype: str = "TLSA", timeout: float = 3.0) -> dns.message.Message:
        return dns.query.tcp(dns.message.make_query(name, rdtype), "127.0.0.1", port=self.port, timeout=timeout)

    def tlsa(self, name: str) -> set[str]:
        """The name's TLSA records as served now: `3 1 1 <hex>`."""
        answer = self.ask(name)
        found = set()
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.TLSA:
                found |= {f"{r.usage} {r.selector} {r.mtype} {r.cert.hex()}" for r in rrset}
        return found

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()


@dataclass
class Registry:
    """A registry of its own in `folder`: state, configuration, server process, command line."""

    folder: Path
    database_url: str | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    dns_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    daemon: Daemon | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.knot = KnotServer(self.folder / "dns", self.dns_port)
        sections: dict[str, dict[str, Any]] = {
            "registry": {"listen": f"127.0.0.1:{self.port}", "state_dir": str(self.folder / "state")},
            "publication": {"server": f"127.0.0.1:{self.dns_port}", "ttl": 2, "timeout_seconds": 3},
            "enrollment": {"overlap_seconds": 0},
            "signer": {
                "kind": "knot",
                "conf": str(self.knot.config),
                "zones_dir": str(self.folder / "dns" / "zones"),
            },
        }
        if self.database_url:
            sections["registry"]["database_url"] = self.database_url
        for name, values in self.options.items():
            sections.setdefault(name, {}).update(values)
        lines = []
        for name, values in sections.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def config(self) -> Path:
        return self.folder / "registry.toml"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def run(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """One `iot-registry` command."""
        done = subprocess.run(
            [str(COMMAND), *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=120,
            input=stdin,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"iot-registry {' '.join(arguments)}: code {done.returncode}\n{done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def prepare(self) -> Registry:
        """init and dns-config, as an operator would."""
        self.run("init")
        self.run("dns-config", "--output", str(self.folder / "dns"))
        return self

    def start(self) -> Registry:
        self.daemon = start(
            "iot-registry",
            [COMMAND, "serve", "--config", self.config],
            log=self.folder / "serve.log",
            ready=self.healthy,
            timeout=40,
        )
        return self

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
            self.daemon = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Registry]:
        """Prepared, with its Knot, serving."""
        if not self.knot.config.exists():
            self.prepare()
        self.knot.start()
        try:
            yield self.start()
        finally:
            self.stop()
            self.knot.stop()

    def healthy(self) -> bool:
        done = subprocess.run(["curl", "-ksS", "--max-time", "2", f"{self.url}/health"], capture_output=True, text=True)
        return done.returncode == 0 and '"status"' in done.stdout

    @property
    def anchor(self) -> Path:
        """The PEM file that clients verify this server with."""
        path = self.folder / "anchor.pem"
        if not path.exists():
            bundle = self.json("device", "add", f"anchor-{self.port}", "--type", "probe")["bundle"]
            path.write_text(decode_bundle(bundle)["ca"])
        return path

    def curl(self, path: str, *arguments: str, body: bytes | None = None) -> Answer:
        """A request to this server, its certificate verified."""
        url = path if path.startswith("https://") else self.url + path
        command = ["curl", "-sS", "--max-time", "30", "--cacert", str(self.anchor), "-D", "-", *arguments]
        if body is not None:
            command += ["--data-binary", "@-"]
        done = subprocess.run([*command, url], capture_output=True, input=body, timeout=40)
        if done.returncode != 0:
            raise RuntimeError(f"curl {url}: code {done.returncode}: {done.stderr.decode()}")
        return Answer.parse(done.stdout)

    def api(self, method: str, path: str, key: str | None, data: Any = None) -> Answer:
        """A call of the JSON API."""
        arguments = ["-X", method]
        if key:
            arguments += ["-H", f"Authorization: Bearer {key}"]
        body = None
        if data is not None:
            arguments += ["-H", "Content-Type: application/json"]
            body = json.dumps(data).encode()
        return self.curl(path, *arguments, body=body)

    def key(self, *scopes: str, domain: str | None = None) -> str:
        """An API key with these scopes."""
        fields = {"label": "test", "scopes": list(scopes), "domain": domain}
        answer = self.api("POST", "/v1/keys", self.admin, fields)
        if answer.status != 201:
            raise RuntimeError(f"making a key: {answer.body.decode()}")
        return str(answer.json["secret"])

    @cached_property
    def admin(self) -> str:
        return self.run("key", "add", "test", "--scope", "admin").stdout.strip()

    def add(self, label: str, kind: str = "camera", **fields: Any) -> tuple[str, str]:
        """Register a device over the API; returns its name and enrollment bundle."""
        answer = self.api("POST", "/v1/devices", self.admin, {"label": label, "type": kind, **fields})
        if answer.status != 201:
            raise RuntimeError(f"adding {label}: {answer.body.decode()}")
        return answer.json["device"]["name"], answer.json["bundle"]

    def device(self, name: str) -> Any:
        return self.api("GET", f"/v1/devices/{name}", self.admin).json

    def revoke(self, name: str) -> None:
        """Revoke, and wait until the DNS serves the change."""
        answer = self.api("POST", f"/v1/devices/{name}/revoke?wait=20", self.admin, {})
        if answer.status != 200 or answer.json["pending"]:
            raise RuntimeError(f"revoking {name}: {answer.body.decode()}")

    def enroll(self, bundle: str, csr: bytes) -> Answer:
        data = decode_bundle(bundle)
        return self.curl(
            f"{data['est']}/simpleenroll",
            "-u",
            f"{data['name']}:{data['token']}",
            "-H",
            "Content-Type: application/pkcs10",
            body=csr,
        )


@dataclass
class Answer:
    """An HTTP answer as curl got it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Answer:
        head, _, body = raw.partition(b"\r\n\r\n")
        # curl prints interim responses (100 Continue), too.
        while head.split(b" ", 2)[1].startswith(b"1"):
            head, _, body = body.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:])}
        return cls(int(lines[0].split(" ")[1]), headers, body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def certificates(self) -> list[x509.Certificate]:
        """The certificates of an EST answer, unpacked by openssl."""
        der = base64.b64decode(self.body)
        done = subprocess.run(
            ["openssl", "pkcs7", "-inform", "DER", "-print_certs"], input=der, capture_output=True, check=True
        )
        return x509.load_pem_x509_certificates(done.stdout)


def decode_bundle(bundle: str) -> dict[str, str]:
    prefix, _, data = bundle.strip().partition(".")
    if prefix != "iotreg1":
        raise ValueError(f"not an enrollment bundle: {bundle[:20]!r}")
    decoded: dict[str, str] = json.loads(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))
    return decoded


def encode_bundle(data: dict[str, str]) -> str:
    return "iotreg1." + base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


@dataclass
class DeviceKey:
    """A device's key, made by openssl, and the requests it signs."""

    path: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> DeviceKey:
        path = folder / f"{name}.key"
        subprocess.run(
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path)], check=True
        )
        return cls(path)

    def csr(self, name: str) -> bytes:
        """A base64 request with common name and dNSName."""
        command = ["openssl", "req", "-new", "-key", str(self.path), "-outform", "DER"]
        done = subprocess.run(
            [*command, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"],
            capture_output=True,
            check=True,
        )
        return base64.encodebytes(done.stdout)

    def spki_sha256(self) -> str:
        key = serialization.load_pem_private_key(self.path.read_bytes(), None)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(
            key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return digest.finalize().hex()


def csr_text(name: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """A base64 request made in this process, for bulk."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    csr = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(csr.public_bytes(serialization.Encoding.DER)).decode()


@dataclass
class PostgreSQL:
    """A PostgreSQL server with one empty database at `url`. Its files are deleted when it ends."""

    # Not below pytest's directory, which every other run of pytest closes to PostgreSQL's user again.
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="registry-postgresql-")))
    port: int = field(default_factory=free_port)
    daemon: Daemon | None = None

    @property
    def url(self) -> str:
        return f"postgresql://registry@127.0.0.1:{self.port}/postgres"

    @property
    def _programs(self) -> Path:
        return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))

    @property
    def _as_user(self) -> list[str]:
        # PostgreSQL refuses to run as root.
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []

    def __enter__(self) -> PostgreSQL:
        if self._as_user:
            shutil.chown(self.folder, "postgres", "postgres")
        initdb = [self._programs / "initdb", "-D", self.folder / "data", "-A", "trust", "-U", "registry", "--no-sync"]
        subprocess.run([*self._as_user, *initdb], check=True, capture_output=True, cwd="/")
        return self.start()

    def start(self) -> PostgreSQL:
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        command = [self._programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", "", *settings]
        self.daemon = start(
            "postgres",
            [*self._as_user, *command],
            log=self.folder / "postgres.log",
            ready=self._ready,
            cwd=Path("/"),
        )
        return self

    def _ready(self) -> bool:
        command = [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres"]
        return subprocess.run([*command, "-U", "registry"], capture_output=True).returncode == 0

    def kill(self) -> None:
        """Crash the server: SIGQUIT makes it abort without a checkpoint."""
        assert self.daemon
        self.daemon.signal(signal.SIGQUIT)
        self.daemon.stop()

    def __exit__(self, *exc: object) -> None:
        if self.daemon:
            # Fast shutdown: do not wait for clients that a test has killed.
            self.daemon.signal(signal.SIGINT)
            self.daemon.stop()
        shutil.rmtree(self.folder)


def wait_tlsa(knot: KnotServer, name: str, expected: set[str], seconds: float = 15) -> None:
    wait_for(lambda: knot.tlsa(name) == expected, f"TLSA of {name} to be {expected}", timeout=seconds)
