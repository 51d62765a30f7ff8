"""Checks of files: those that were installed, the links that enable them, and owners and modes."""

from __future__ import annotations

import stat
from collections.abc import Mapping

from dane_radius.doctor.facts import Facts, FileState, InstallFacts
from dane_radius.doctor.findings import Check, Finding, error, info, ok, warning
from dane_radius.server import Config
from health_report import Account, Fact, NotTried, PathFacts

_INSTALL = "run `dane-radius install` again"
_READ, _WRITE, _ENTER = 4, 2, 1


def check_install(install: Fact[InstallFacts]) -> list[Finding]:
    """The installed files against the manifest and this package, what decisions need, and the enabled links."""
    if isinstance(install, NotTried):
        fix = "run this command as root, or run `dane-radius install` if nothing was installed"
        return [error(Check.INSTALL_MANIFEST, install.why, "an installation", fix)]
    if not install.files:
        fix = "run `dane-radius install`, or name the configuration folder with --raddb"
        return [error(Check.INSTALL_MANIFEST, "the manifest lists no file", "an installation", fix)]
    return [*_check_files(install), *_check_essentials(install), *_check_links(install)]


def _check_files(install: InstallFacts) -> list[Finding]:
    findings = []
    unchanged = 0
    for file in install.files:
        if file.state is FileState.MISSING:
            found = f"{file.path} is missing"
            findings.append(error(Check.INSTALL_FILE, found, "the installed file", f"{_INSTALL}, which writes it"))
        elif file.state is FileState.UNREADABLE:
            found = f"{file.path} cannot be read"
            findings.append(warning(Check.INSTALL_FILE, found, "a readable file", "run this command as root"))
        elif file.is_settings:
            # Operators write their settings and their policy into these.
            unchanged += 1
        elif file.state is FileState.CHANGED:
            findings.append(_changed(file.path, is_current=file.is_current))
        elif file.is_current is False:
            found = f"{file.path} is from another version of this package"
            fix = f"{_INSTALL}, and restart the server"
            findings.append(warning(Check.INSTALL_FILE, found, "the file of this version", fix))
        else:
            unchanged += 1
    return [ok(Check.INSTALL_FILE, f"{unchanged} of {len(install.files)} files are as they should be"), *findings]


def _changed(path: str, *, is_current: bool | None) -> Finding:
    if is_current:
        return info(Check.INSTALL_FILE, f"{path} was changed, but only its paths, ports or numbers")
    found = f"{path} was changed by hand; upgrades do not replace it"
    fix = f"compare it with {path}.dane-new, or move it away and run `dane-radius install` to get the package's file"
    return warning(Check.INSTALL_FILE, found, "the file of this version", fix)


def _check_essentials(install: InstallFacts) -> list[Finding]:
    findings = [
        error(
            Check.INSTALL_DECISION,
            f"{item.path} {'lacks' if item.is_wanted else 'contains'} `{item.statement}`: {item.consequence}",
            f"{'' if item.is_wanted else 'no '}`{item.statement}`",
            "correct the file, or move it away, run `dane-radius install`, and restart the server",
        )
        for item in install.essentials
        if item.is_present is not item.is_wanted
    ]
    return findings or [ok(Check.INSTALL_DECISION, "the sites contain all that decisions depend on")]


def _check_links(install: InstallFacts) -> list[Finding]:
    findings = []
    for link in install.links:
        if link.target is None:
            found = f"{link.path} is missing: its module or site is not enabled"
            fix = f"run `ln -s {link.expected} {link.path}` and restart the server"
            findings.append(error(Check.INSTALL_LINK, found, f"a link to {link.expected}", fix))
        elif link.target != link.expected:
            found = f"{link.path} leads to {link.target}"
            fix = "remove it, and run `dane-radius install`"
            findings.append(warning(Check.INSTALL_LINK, found, f"a link to {link.expected}", fix))
    return findings or [ok(Check.INSTALL_LINK, f"{len(install.links)} modules and sites are enabled")]


def check_paths(facts: Facts) -> list[Finding]:
    """Owners and modes, as the server's user meets them."""
    account, paths = facts.account, facts.paths
    if isinstance(account, NotTried):
        fix = "install the package freeradius, or name the user with `dane-radius install --user`"
        return [error(Check.FILES_SETTINGS, account.why, "the server's user exists", fix)]
    findings = [
        *_check_readable(Check.FILES_SETTINGS, paths.get("settings"), account, _READ),
        *_check_readable(Check.FILES_POLICY, paths.get("policy"), account, _READ),
        *_check_anchors(paths, account),
        *_check_key(paths.get("server_key"), account),
    ]
    if not isinstance(facts.config, NotTried):
        findings += check_session_directory(paths.get("session_directory"), account)
        findings += _check_log(paths.get("log"), paths.get("log_folder"), account)
        findings += _check_socket(paths.get("control_socket"), account)
        findings += _check_cui_key(facts.config, facts.cui_key, paths.get("cui_key"), account)
    return findings


def _check_readable(check: Check, path: PathFacts | None, account: Account, wanted: int) -> list[Finding]:
    if path is None:
        return []
    node = path.node
    if node is None:
        found = f"{path.path} cannot be used: {path.missing}"
        return [error(check, found, "a file that the server can read", _INSTALL)]
    blocked = path.obstacle(account, wanted)
    if blocked is not None:
        found = f"user {account.name} may not use {path.path}: {blocked.path} has mode {blocked.permissions}"
        bits = "g+rx" if stat.S_ISDIR(blocked.mode) else "g+r"
        fix = f"run `chgrp {account.name} {blocked.path}` and `chmod {bits} {blocked.path}`"
        return [error(check, found, f"user {account.name} can read it", fix)]
    if node.mode & stat.S_IWOTH and not node.mode & stat.S_ISVTX:
        found = f"every user may write to {path.path} (mode {node.permissions})"
        return [error(check, found, "only its owner may", f"run `chmod o-w {path.path}`")]
    return [ok(check, f"user {account.name} can read {path.path} (mode {node.permissions})")]


def check_session_directory(path: PathFacts | None, account: Account) -> list[Finding]:
    """The folder of TLS sessions: the server's alone, because its files contain secrets."""
    check = Check.FILES_SESSION_DIRECTORY
    if path is None:
        return []
    node = path.node
    make = f"run `install -d -m 0700 -o {account.name} -g {account.name} {path.path}`"
    expected = f"a folder of user {account.name} with mode 0700"
    if node is None:
        found = f"{path.path} cannot be used: {path.missing}; every device is refused"
        return [error(check, found, expected, f"{make}, and restart the server")]
    if not stat.S_ISDIR(node.mode) or node.uid != account.uid or stat.S_IMODE(node.mode) != 0o700:
        kind = "folder" if stat.S_ISDIR(node.mode) else "file"
        found = f"{path.path} is a {kind} of user {node.uid} with mode {node.permissions}"
        fix = f"run `chown {account.name} {path.path}` and `chmod 0700 {path.path}`"
        return [error(check, found, expected, fix)]
    blocked = path.obstacle(account, _READ | _WRITE | _ENTER)
    if blocked is not None:
        found = f"user {account.name} may not enter {blocked.path} (mode {blocked.permissions})"
        return [error(check, found, expected, f"run `chmod o+x {blocked.path}`")]
    if path.filesystem not in ("", "tmpfs", "ramfs"):
        found = f"{path.path} is on {path.filesystem}: secrets of TLS sessions are written to a disk"
        fix = "set session.directory, and persist_dir in mods-available/dane_eap, to a folder below /run"
        return [warning(check, found, "a folder on a tmpfs", fix)]
    return [ok(check, f"{path.path} belongs to user {account.name}, mode 0700")]


def _check_anchors(paths: Mapping[str, PathFacts], account: Account) -> list[Finding]:
    findings = []
    for key, wanted in (("anchors", _READ | _ENTER), ("anchor_folder", _READ | _ENTER), ("anchor_index", _READ)):
        path = paths.get(key)
        if path is None or (key == "anchor_index" and path.node is None):
            # There is no index before trust-sync has written one.
            continue
        findings += _check_readable(Check.FILES_ANCHORS, path, account, wanted)
    return findings


def _check_key(path: PathFacts | None, account: Account) -> list[Finding]:
    check = Check.FILES_SERVER_KEY
    if path is None:
        return []
    findings = _check_readable(check, path, account, _READ)
    node = path.node
    if node is not None and node.mode & stat.S_IRWXO:
        found = f"every user may use the private key {path.path} (mode {node.permissions})"
        fix = f"run `chmod 0640 {path.path}` and `chgrp {account.name} {path.path}`"
        return [error(check, found, "mode 0640 or less", fix)]
    return findings


def _check_log(path: PathFacts | None, folder: PathFacts | None, account: Account) -> list[Finding]:
    check = Check.FILES_LOG
    if path is None or folder is None:
        return [info(check, "the decision log is not a file")]
    target = path if path.node is not None else folder
    blocked = target.obstacle(account, _WRITE if target is path else _WRITE | _ENTER)
    if target.node is None or blocked is not None:
        found = f"user {account.name} may not write {path.path}"
        if blocked is not None:
            found += f": {blocked.path} has mode {blocked.permissions}"
        fix = f"run `chown {account.name} {blocked.path if blocked else folder.path}`"
        return [error(check, found, f"user {account.name} can write the log", fix)]
    return [ok(check, f"user {account.name} can write {path.path}")]


def _check_socket(path: PathFacts | None, account: Account) -> list[Finding]:
    check = Check.FILES_CONTROL_SOCKET
    if path is None:
        fix = "set control_socket in dane-radius.toml"
        return [info(check, "the module has no control socket", "a socket for `dane-radius status`", fix)]
    node = path.node
    if node is None:
        # `running.server` says what that means.
        return [info(check, f"{path.path} does not exist: {path.missing}")]
    if not stat.S_ISSOCK(node.mode):
        fix = f"remove {path.path} and restart the server"
        return [error(check, f"{path.path} is not a socket", "the module's socket", fix)]
    if node.mode & stat.S_IWOTH:
        found = f"every user may control the module through {path.path} (mode {node.permissions})"
        return [error(check, found, "mode 0660", f"run `chmod 0660 {path.path}`")]
    return [ok(check, f"{path.path} belongs to user {node.uid} and group {node.gid}, mode {node.permissions}")]


def _check_cui_key(
    config: Config, problem: Fact[str | None], path: PathFacts | None, account: Account
) -> list[Finding]:
    check = Check.FILES_CUI_KEY
    if config.cui_key_file is None or path is None:
        return [info(check, "no cui_key_file: replies have no Chargeable-User-Identity")]
    fix = f"make it with `head -c 32 /dev/urandom | base64`, group {account.name}, mode 0640"
    if isinstance(problem, str):
        return [error(check, problem, "a secret that only the server can read", fix)]
    return _check_readable(check, path, account, _READ)
