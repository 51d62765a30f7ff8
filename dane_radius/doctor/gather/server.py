"""Gathers facts about FreeRADIUS: its program, its user, its configuration files, and its own check of them."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from dane_radius.doctor.facts import ConfigurationCheck, Program, RadiusClient, RadiusdFacts
from dane_radius.doctor.raddb import Block, expand, parse
from health_report import Account, CannotTry

CHECK_SECONDS = 25.0
_VERSION_SECONDS = 5.0
_SHOWN_LINES, _SHOWN_CHARACTERS = 4, 600
# Bounds on what includes can make this command read.
_MAX_FILES, _MAX_OCTETS = 1000, 1 << 20
# The names that FreeRADIUS reads from a folder that it includes.
_INCLUDED_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_MODULES = ("rlm_python3", "rlm_perl")
_DEBIAN_LIBRARIES = "/usr/lib/freeradius"
# Secrets of sample files and documentation.
_SAMPLE_SECRETS = frozenset({"testing123", "testing123-1", "testing123-2", "secret", "radsec", "changeme"})
_NUMBERS = ("max_requests", "cleanup_delay", "max_request_time")


def find_program() -> str:
    """The path of the server's program. Raises CannotTry."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("freeradius", path=search) or shutil.which("radiusd", path=search)
    if found is None:
        raise CannotTry("there is no program `freeradius` or `radiusd`")
    return found


def read_program(conf: Block | None) -> Program:
    """The version of the server, and which modules its library folder lacks. Raises CannotTry, OSError."""
    program = find_program()
    _, said = _run([program, "-v"], _VERSION_SECONDS, None)
    version = re.search(r"Version (\d+)\.(\d+)\.(\d+)", said)
    settings = conf.settings if conf is not None else {}
    folder = expand(settings.get("libdir", _DEBIAN_LIBRARIES), settings)
    missing = tuple(name for name in _MODULES if not Path(folder, f"{name}.so").exists())
    return Program(program, tuple(map(int, version.groups())) if version else (), folder, missing)


def check_configuration(raddb: Path, account: Account) -> ConfigurationCheck:
    """Have the server check its configuration with its own user's rights. Raises CannotTry, OSError."""
    program = find_program()
    command = f"{Path(program).name} -C"
    user = account if os.geteuid() == 0 else None
    code, said = _run([program, "-C", "-l", "stdout", "-d", str(raddb)], CHECK_SECONDS - 1, user)
    lines = [line for line in said.strip().splitlines() if line.strip()][-_SHOWN_LINES:]
    text = " / ".join(line.strip() for line in lines)[-_SHOWN_CHARACTERS:]
    return ConfigurationCheck(command, code == 0, text, account.name if user else pwd.getpwuid(os.geteuid()).pw_name)


def _run(command: list[str], seconds: float, account: Account | None) -> tuple[int, str]:
    """The exit code and the output of a command. Raises CannotTry if it takes longer than `seconds`, OSError."""
    user = pwd.getpwnam(account.name) if account else None
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        start_new_session=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=sorted(account.gids) if account else None,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        # It may have started children: the session is its own.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise CannotTry(f"`{' '.join(command[:2])}` did not finish within {seconds:g} s") from error
    return process.returncode, said.decode("utf-8", "replace")


def read_file(path: Path) -> Block:
    """One configuration file, parsed. Raises OSError."""
    with path.open("rb") as file:
        return parse(file.read(_MAX_OCTETS).decode("utf-8", "replace"))


def read_radiusd(raddb: Path, conf: Block) -> RadiusdFacts:
    """The limits and the clients. Raises OSError."""
    pool = conf.find("thread", "pool") or Block()
    security = conf.find("security") or Block()
    numbers = {key: number for key in _NUMBERS if (number := conf.number(key)) is not None}
    clients = tuple(client for path, block in included_files(raddb, conf) for client in _clients(path, block))
    return RadiusdFacts(
        str(raddb / "radiusd.conf"),
        numbers,
        {key: number for key in pool.settings if (number := pool.number(key)) is not None},
        dict(security.settings),
        clients,
    )


def included_files(raddb: Path, conf: Block) -> Iterator[tuple[Path, Block]]:
    """radiusd.conf and the files that it includes, modules and policies apart, as far as they can be read."""
    variables = variables_of(raddb, conf)
    todo = [raddb / "radiusd.conf"]
    seen: set[Path] = set()
    while todo and len(seen) < _MAX_FILES:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        try:
            block = read_file(path)
        except OSError:
            continue
        yield path, block
        for inner in block.walk():
            if inner.kind not in ("modules", "policy"):
                for text in inner.includes:
                    todo += _included(Path(expand(text, variables)), text, path)


def variables_of(raddb: Path, conf: Block) -> Mapping[str, str]:
    """The variables of radiusd.conf, which other files use. `raddb` is where the server is told to find them."""
    return {**conf.settings, "raddbdir": str(raddb), "confdir": str(raddb)}


def _included(path: Path, text: str, by: Path) -> list[Path]:
    path = path if path.is_absolute() else by.parent / path
    if not text.endswith("/"):
        return [path]
    try:
        return sorted(entry for entry in path.iterdir() if _INCLUDED_NAME.match(entry.name))
    except OSError:
        return []


def _clients(path: Path, block: Block) -> Iterator[RadiusClient]:
    for inner in block.walk():
        # A `client` block inside of another one has only an address.
        if inner.kind == "client" and "secret" in inner.settings:
            settings = inner.settings
            addresses = [settings[key] for key in ("ipaddr", "ipv4addr", "ipv6addr") if key in settings]
            yield RadiusClient(
                inner.name,
                path.name,
                all(map(_is_loopback, addresses or [inner.name])),
                settings.get("require_message_authenticator"),
                settings.get("limit_proxy_state"),
                settings["secret"] in _SAMPLE_SECRETS,
                len(settings["secret"].encode()),
            )


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_network(text, strict=False).is_loopback
    except ValueError:
        return text == "localhost"
