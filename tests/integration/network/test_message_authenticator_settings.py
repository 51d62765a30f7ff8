"""Every client block and every hostapd that the repository ships or shows requires a Message-Authenticator."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.harness.deploy import REPOSITORY

# A client block's head, in a file or in documentation.
_CLIENT = re.compile(r"^[ \t]*(?:f?\"+)?client [\w{}.-]+ \{+", re.MULTILINE)


def texts(*places: str) -> Iterator[tuple[str, str]]:
    """The files in some folders of the repository, or these files themselves: path and text."""
    for place in places:
        top = REPOSITORY / place
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield str(path.relative_to(REPOSITORY)), path.read_text(errors="replace")


def client_blocks() -> Iterator[tuple[str, str]]:
    """Every `client` block that is shipped, documented or used by the harness: its file and its text."""
    places = ["freeradius", "docs", "containers", "script", "README.md"]
    places += ["tests/harness", "tests/demo", "tests/integration/trust_sync"]
    for path, text in texts(*places):
        for match in _CLIENT.finditer(text):
            rest = text[match.end() :]
            end = re.search(r"(?:^\s*|\\n)\}", rest, re.MULTILINE)
            yield path, rest[: end.end() if end else 400]


def test_every_hostapd_requires_a_message_authenticator_of_a_disconnect() -> None:
    """RFC 5176 leaves it to the NAS; without it, a Disconnect-Request is signed by MD5 alone."""
    found = []
    for path, text in texts("docs", "tests/harness", "tests/demo", "iot_safe_sim", "README.md"):
        for match in re.finditer(r"^.*radius_das_client\W", text, re.MULTILINE):
            nearby = text[match.start() : match.start() + 400]
            if re.search(r"radius_das_client[= ]['\"]?[\w{]", nearby):
                found.append((path, nearby))
    assert {path for path, _ in found} >= {"docs/access-point.md", "docs/switch.md", "tests/harness/switch.py"}
    lax = [path for path, nearby in found if "radius_das_require_message_authenticator=1" not in nearby]
    assert lax == []


def test_every_client_block_requires_a_message_authenticator() -> None:
    blocks = list(client_blocks())
    known = {"docs/access-point.md", "docs/switch.md", "tests/harness/freeradius.py", "tests/harness/eap_tls_server.py"}
    assert {path for path, _ in blocks} >= known
    lax = [path for path, text in blocks if not re.search(r"require_message_authenticator\s*=\s*yes", text)]
    assert lax == []
