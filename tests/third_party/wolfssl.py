"""wolfSSL's IoT SAFE demonstration, fetched from Debian's archive and built as its README says, unchanged."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

from tests.harness.process import run

VERSION = "5.5.4"
ARCHIVE = f"https://deb.debian.org/debian/pool/main/w/wolfssl/wolfssl_{VERSION}.orig.tar.gz"
SHA256 = "b7ee150e49def77c765bc02aac92ddeb0bebefd4cb12aa263d8f95e405221fb8"
#: Kept between runs; below the checkout's ignored build folder.
FOLDER = Path(__file__).parents[2] / "build" / "third_party" / f"wolfssl-{VERSION}"

_CONFIGURE = ["--enable-tls13", "--enable-pkcallbacks", "--enable-debug", "--enable-iotsafe", "--enable-hkdf"]
#: The demonstration speaks TLS 1.3; this makes the compiler read its other method instead. The source stays.
_TLS12 = "-DwolfTLSv1_3_client_method=wolfTLSv1_2_client_method"


def demonstration(tls: str) -> Path:
    """The program for TLS version `tls` ("1.2" or "1.3"). The first call builds it, which takes a minute."""
    program = FOLDER / f"iotsafe-client-tls{tls}"
    if program.exists():
        return program
    source, prefix = FOLDER / "source", FOLDER / "installed"
    if not (prefix / "lib" / "libwolfssl.so").exists():
        _fetch(source)
        script = (
            f"./autogen.sh && ./configure CFLAGS=-DWOLFSSL_TRUST_PEER_CERT --disable-examples --prefix='{prefix}' "
            f"{' '.join(_CONFIGURE)} && make -j{os.cpu_count()} install"
        )
        run(["sh", "-c", f"cd '{source}' && ({script}) >'{FOLDER}/build.log' 2>&1"], timeout=900)
    libraries = f"-L{prefix}/lib -Wl,-rpath,{prefix}/lib"
    run(
        [
            *("make", "-C", source / "IDE" / "iotsafe-raspberrypi", "clean", "all"),
            f"CINCS=-I. -I{prefix}/include {_TLS12 if tls == '1.2' else ''}",
            f"CLIBS={libraries}",
            "CDEPS=-lm -lwolfssl",
        ]
    )
    (source / "IDE" / "iotsafe-raspberrypi" / "main.bin").replace(program)
    return program


def _fetch(source: Path) -> None:
    source.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(ARCHIVE, timeout=60) as response:
        content = response.read()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise RuntimeError(f"{ARCHIVE}: SHA-256 is {found}, expected {SHA256}")
    archive = FOLDER / "source.tar.gz"
    archive.write_bytes(content)
    run(["tar", "-xzf", archive, "-C", source, "--strip-components=1"])
