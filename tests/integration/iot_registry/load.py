"""Devices that enroll at a constant rate, whether or not the registry keeps up (an open-loop load)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.iot_registry.parts import Registry, csr_text, decode_bundle

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Enrollment:
    """A registered device, its complete HTTP request, and the TLSA record that follows from it."""

    name: str
    request: bytes
    record: str


@dataclass(frozen=True)
class Outcome:
    """seconds: from the time when the request was due until its answer. status: 0: no answer."""

    name: str
    status: int
    seconds: float


def prepare(registry: Registry, folder: Path, prefix: str, count: int) -> list[Enrollment]:
    """Register `count` devices and sign their requests."""
    source, output = folder / f"{prefix}.csv", folder / f"{prefix}.jsonl"
    source.write_text("label,type\n" + "".join(f"{prefix}{number},sensor\n" for number in range(count)))
    registry.run("device", "import", str(source), "--output", str(output))
    return [_enrollment(json.loads(line)["bundle"]) for line in output.read_text().splitlines()]


def _enrollment(bundle: str) -> Enrollment:
    data = decode_bundle(bundle)
    body = csr_text(data["name"]).encode()
    credentials = base64.b64encode(f"{data['name']}:{data['token']}".encode()).decode()
    head = (
        "POST /.well-known/est/home.example/simpleenroll HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Basic {credentials}\r\nContent-Type: application/pkcs10\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    key = x509.load_der_x509_csr(base64.b64decode(body)).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Enrollment(data["name"], head.encode() + body, f"3 1 1 {hashlib.sha256(spki).hexdigest()}")


async def _one(registry: Registry, tls: ssl.SSLContext, enrollment: Enrollment, due: float) -> Outcome:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(max(0.0, due - clock()))
    status = 0
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", registry.port, ssl=tls, server_hostname="127.0.0.1"
            )
            writer.write(enrollment.request)
            answer = await reader.read()
            writer.close()
        status = int(answer.split(b" ", 2)[1])
    except (OSError, TimeoutError, IndexError, ValueError):
        # The registry was killed, or refused the connection: no answer.
        pass
    return Outcome(enrollment.name, status, clock() - due)


async def _all(registry: Registry, enrollments: Sequence[Enrollment], rate: float) -> list[Outcome]:
    tls = ssl.create_default_context(cafile=str(registry.anchor))
    start = asyncio.get_running_loop().time() + 0.1
    tasks = [_one(registry, tls, item, start + number / rate) for number, item in enumerate(enrollments)]
    return list(await asyncio.gather(*tasks))


def run(registry: Registry, enrollments: Sequence[Enrollment], rate: float) -> list[Outcome]:
    """Send the requests, `rate` a second, each over a TLS connection of its own."""
    return asyncio.run(_all(registry, enrollments, rate))


def quantile(outcomes: Sequence[Outcome], share: float) -> float:
    """Seconds within which this share of the requests was answered."""
    ordered = sorted(outcome.seconds for outcome in outcomes)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
