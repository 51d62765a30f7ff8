"""A database on PostgreSQL must be able to hold every text: its encoding is UTF8, or it is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.iot_registry.parts import COMMAND, PostgreSQL


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="module", params=["SQL_ASCII", "LATIN1"])
def narrow(request: pytest.FixtureRequest, postgresql: PostgreSQL) -> tuple[str, str]:
    """An encoding that cannot hold every text, and the URL of a database that has it."""
    encoding: str = request.param
    name = f"with_{encoding.lower()}"
    command = ["createdb", "-h", "127.0.0.1", "-p", str(postgresql.port), "-U", "registry", "--template=template0"]
    subprocess.run([*command, f"--encoding={encoding}", "--locale=C", name], check=True, capture_output=True)
    return encoding, f"postgresql://registry@127.0.0.1:{postgresql.port}/{name}"


def registry(folder: Path, url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(COMMAND), *arguments, "--state-dir", str(folder / "state"), "--database-url", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


@pytest.mark.parametrize("command", [["init"], ["serve", "--listen", "127.0.0.1:0"]])
def test_another_encoding_is_refused(narrow: tuple[str, str], tmp_path: Path, command: list[str]) -> None:
    encoding, url = narrow
    done = registry(tmp_path, url, *command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"has encoding {encoding}, expected UTF8" in done.stderr
    assert "createdb" in done.stderr


@pytest.mark.parametrize("client", ["SQL_ASCII", "LATIN1"])
def test_the_clients_encoding_does_not_depend_on_the_environment(
    postgresql: PostgreSQL, tmp_path: Path, client: str
) -> None:
    done = registry(tmp_path, postgresql.url, "init", PGCLIENTENCODING=client)
    assert done.returncode == 0, done.stderr
    label = "Łukasz's laptop, 東京"
    made = registry(tmp_path, postgresql.url, "key", "add", label, "--scope", "device:read", PGCLIENTENCODING=client)
    assert made.returncode == 0, made.stderr
    assert label in registry(tmp_path, postgresql.url, "key", "list", "--json").stdout.encode().decode("unicode_escape")
