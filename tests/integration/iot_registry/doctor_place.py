"""A registry on PostgreSQL with everything around it, for the tests of `iot-registry doctor`, and what that says."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from click.testing import CliRunner

from iot_registry.cli import main
from tests.harness.knot import Knot, Zone
from tests.harness.process import run, wait_for
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import COMMAND, DeviceKey, PostgreSQL, Registry

DOMAIN, PARENT = "home.example", "example"
# The command promises 40 seconds. The tests' machines may be slow.
DEADLINE_SECONDS = 90
_numbers = itertools.count(1)


@dataclass
class Examined:
    """What the command said."""

    code: int
    findings: list[dict[str, Any]]

    def of(self, check: str, severity: str) -> list[dict[str, Any]]:
        return [f for f in self.findings if f["id"] == check and f["severity"] == severity]

    def ids(self, severity: str) -> set[str]:
        return {f["id"] for f in self.findings if f["severity"] == severity}

    @property
    def problems(self) -> set[tuple[str, str]]:
        return {(f["id"], f["severity"]) for f in self.findings if f["severity"] in ("warning", "error")}


@dataclass
class Place:
    """A registry with one active and one revoked device, its parent zone, and a resolver that validates both."""

    registry: Registry
    postgresql: PostgreSQL | None
    resolver: Unbound
    active: str
    revoked: str

    def config(self, changes: dict[str, dict[str, Any]]) -> Path:
        """The registry's configuration with changes, in a file of its own."""
        sections = tomllib.loads(self.registry.config.read_text())
        for name, values in changes.items():
            sections.setdefault(name, {}).update(values)
        lines = []
        for name, values in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        path = self.registry.folder / "changed.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def command(self, *options: str | Path, **changes: dict[str, Any]) -> list[str]:
        config = self.config(changes) if changes else self.registry.config
        return [str(COMMAND), "doctor", "--config", str(config), *map(str, options)]

    def examine(self, *options: str | Path, resolver: str | None = None, **changes: dict[str, Any]) -> Examined:
        """The findings, with changes of the configuration that the command reads."""
        at = resolver or f"127.0.0.1:{self.resolver.port}"
        return examined(invoke(*self.command("--json", "--resolver", at, *options, **changes)[1:]))

    def sql(self, statement: str) -> None:
        assert self.postgresql is not None
        with psycopg.connect(self.postgresql.url, autocommit=True) as connection:
            connection.execute(statement)

    @contextlib.contextmanager
    def altered(self, table: str, column: str, value: str, where: str) -> Iterator[None]:
        """One column of a row with another value, for as long as the context lasts. value: an SQL expression."""
        assert self.postgresql is not None
        # All texts are those of the tests.
        saved = f"saved_{next(_numbers)}"
        self.sql(f"CREATE TABLE {saved} AS SELECT {column} FROM {table} WHERE {where}")  # noqa: S608
        self.sql(f"UPDATE {table} SET {column} = {value} WHERE {where}")  # noqa: S608
        try:
            yield
        finally:
            self.sql(f"UPDATE {table} SET {column} = (SELECT {column} FROM {saved}) WHERE {where}")  # noqa: S608
            self.sql(f"DROP TABLE {saved}")

    def update_dns(self, *commands: str) -> None:
        """Change the zone behind the registry's back, with Knot's own tool."""
        for command in ("zone-begin", *commands, "zone-commit"):
            verb, *arguments = command.split()
            run(["knotc", "-c", self.registry.knot.config, verb, f"{DOMAIN}.", *arguments])


def invoke(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command, in this process: to load its libraries would take longer than the command itself."""
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def examined(done: subprocess.CompletedProcess[str]) -> Examined:
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    found = Examined(done.returncode, report["findings"])
    assert report["ok"] is (done.returncode == 0) is (not found.ids("error"))
    for finding in found.findings:
        if finding["severity"] in ("warning", "error"):
            assert finding["expected"], finding
            assert finding["fix"], finding
        assert finding["link"].startswith("docs/registry.md#")
    return found


@contextlib.contextmanager
def running_place(folder: Path, kind: str = "postgresql") -> Iterator[Place]:
    """A healthy registry with a signed parent zone."""
    with contextlib.ExitStack() as stack:
        postgresql = stack.enter_context(PostgreSQL()) if kind == "postgresql" else None
        url = postgresql.url if postgresql else None
        registry = stack.enter_context(Registry(folder / "registry", database_url=url).running())
        zone = Zone(PARENT, delegation(registry))
        parent = stack.enter_context(Knot(folder / "parent", [zone]))
        run(["knotc", "-c", registry.knot.config, "zone-ksk-submitted", f"{DOMAIN}."])
        wait_for(lambda: not registry.knot.ask(DOMAIN, "CDS").answer, "the CDS record to go")
        stubs = {DOMAIN: ("127.0.0.1", registry.dns_port), PARENT: ("127.0.0.1", parent.port)}
        resolver = stack.enter_context(Unbound(folder / "unbound", stubs, parent.trust_anchors(PARENT)))
        yield Place(registry, postgresql, resolver, enroll(registry, "active"), revoke(registry, "revoked"))


def delegation(registry: Registry, digest: str | None = None) -> str:
    """The records of the zone in its parent zone. digest: another one than that of the zone's key."""
    lines = run(["keymgr", "-c", registry.knot.config, f"{DOMAIN}.", "ds"]).splitlines()
    (ds,) = [line.split(" DS ")[1] for line in lines if line.split()[4] == "2"]
    if digest is not None:
        ds = " ".join([*ds.split()[:3], digest])
    return f"home NS ns.home\nns.home A 127.0.0.1\nhome DS {ds}\n"


def enroll(registry: Registry, label: str) -> str:
    name, bundle = registry.add(label)
    answer = registry.enroll(bundle, DeviceKey.make(registry.folder, label).csr(name))
    assert answer.status == 200, answer.body
    return name


def revoke(registry: Registry, label: str) -> str:
    name = enroll(registry, label)
    registry.revoke(name)
    return name


def as_nobody(place: Place, config: Path) -> Examined:
    """The findings of a user that may see nothing of the registry, by a configuration file."""
    code = "import sys; from iot_registry.cli import main; sys.argv[0] = 'iot-registry'; main()"
    arguments = ["doctor", "--json", "--config", str(config)]
    # The environment of the tests may be open to root only, and the libraries must be loaded before.
    switch = f"import os, iot_registry.doctor, iot_registry.cli.doctor_command, psycopg; os.setuid(65534); {code}"
    python = COMMAND.with_name("python")
    done = subprocess.run(
        [str(python), "-c", switch, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        env={"PATH": os.environ["PATH"], "HOME": "/"},
        cwd="/",
    )
    return examined(done)
