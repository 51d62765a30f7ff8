"""Zones that are signed once, by ldns, and not by the server that serves them: broken, or of another time."""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness.process import run


def signed_zone(folder: Path, zone: str, records: str, algorithm: str = "ECDSAP256SHA256") -> tuple[str, str]:
    """A signed zone's text, and its trust anchor. `algorithm`: as `ldns-keygen -a` names it."""
    folder.mkdir(parents=True, exist_ok=True)
    bits = "-b 2048" if algorithm.startswith("RSA") else ""
    keys = [
        run(["sh", "-c", f"cd {folder} && ldns-keygen -a {algorithm} {bits} {flag} {zone}"]).strip()
        for flag in ("-k", "")
    ]
    source = folder / f"{zone}.txt"
    source.write_text(
        f"$ORIGIN {zone}.\n$TTL 60\n@ SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 1\n"
        f"@ NS ns.{zone}.\nns A 127.0.0.1\n{records}\n"
    )
    signed = folder / f"{zone}.signed"
    run(["sh", "-c", f"cd {folder} && ldns-signzone -f {signed} {source} {' '.join(keys)}"])
    return signed.read_text(), (folder / f"{keys[0]}.key").read_text()


def tampered_zone(folder: Path, zone: str, records: str) -> tuple[str, str]:
    """A signed zone whose TLSA data was changed after signing: its text, and the trust anchor that exposes it."""
    text, anchor = signed_zone(folder, zone, records)
    tampered = re.sub(r"(\bTLSA\s+\d+ \d+ \d+ )([0-9a-f]{2})", lambda m: m[1] + f"{int(m[2], 16) ^ 1:02x}", text)
    if tampered == text:
        raise RuntimeError("the signed zone holds no TLSA record to tamper with")
    return tampered, anchor
