"""Checks of files: the state directory, keys and passphrases, with their owners and modes, and free space."""

from __future__ import annotations

import stat

from health_report import Account, Fact, Node, NotTried, PathFacts
from iot_registry.doctor.facts import FileFacts, SecretFile
from iot_registry.doctor.findings import Check, Finding, counted, error, info, is_forbidden, ok, unseen, warning
from iot_registry.local.config import Settings

_READ = 4
_FEW_OCTETS, _NO_OCTETS = 512 << 20, 64 << 20
_FEW_INODES = 1000


def check_files(files: Fact[FileFacts], settings: Settings) -> list[Finding]:
    """All checks of files. Without a state directory, the first one says so alone."""
    check = Check.FILES_STATE_DIRECTORY
    expected = "a directory of the registry's user with mode 0700"
    if isinstance(files, NotTried):
        return [unseen(check, files, expected, "make a registry with `iot-registry init`, or name its --state-dir")]
    node, owner = files.state.node, files.owner
    if node is None:
        found = f"{files.state.path} cannot be used: {files.state.missing}"
        fix = "make a registry with `iot-registry init`, or name its --state-dir"
        return [error(check, found, expected, fix)]
    return [
        _check_state(node),
        *_check_owners(files, owner),
        _check_space(files),
        *_check_ca_keys(files),
        *_check_secrets(Check.FILES_PASSPHRASES, files.passphrases, owner, files.state),
        *_check_tsig(files, owner),
        *_check_secrets(Check.FILES_TLS, files.tls, owner, None),
    ]


def _check_state(node: Node) -> Finding:
    check = Check.FILES_STATE_DIRECTORY
    if not stat.S_ISDIR(node.mode):
        return error(check, f"{node.path} is not a directory", "a directory", "name another one with --state-dir")
    if stat.S_IMODE(node.mode) & 0o027:
        found = f"{node.path} has mode {node.permissions}: others can read it, or change it"
        return error(check, found, "mode 0700 or 0750", f"run `chmod 700 {node.path}`")
    return ok(check, f"{node.path} belongs to user {node.uid}, mode {node.permissions}")


def _check_owners(files: FileFacts, owner: Fact[Account]) -> list[Finding]:
    check = Check.FILES_OWNERS
    if isinstance(owner, NotTried):
        fix = f"run `chown -R iot-registry {files.state.path}`"
        return [error(check, f"the owner of {files.state.path}: {owner.why}", "a user that exists", fix)]
    if not files.foreign:
        return [ok(check, f"all files belong to user {owner.name}")]
    shown = files.foreign[0]
    found = (
        f"{counted(len(files.foreign), 'file')} in {files.state.path} of another user than {owner.name}, "
        f"such as {shown.path} (user {shown.uid}), which the server may be unable to use"
    )
    fix = f"run `chown -R {owner.name} {files.state.path}`, and run commands as that user"
    return [error(check, found, f"files of user {owner.name}", fix)]


def _check_space(files: FileFacts) -> Finding:
    check = Check.FILES_SPACE
    megabytes = files.free_octets >> 20
    found = f"{megabytes} MB are free for {files.state.path}"
    fix = "delete what is not needed on this file system, or enlarge it"
    few_inodes = files.free_inodes is not None and files.free_inodes < _FEW_INODES
    if few_inodes:
        found += f", and {files.free_inodes} inodes"
    if files.free_octets < _NO_OCTETS or files.free_inodes == 0:
        return error(check, f"{found}: the registry soon refuses every change", f"{_FEW_OCTETS >> 20} MB", fix)
    if files.free_octets < _FEW_OCTETS or few_inodes:
        return warning(check, found, f"{_FEW_OCTETS >> 20} MB, {_FEW_INODES} inodes", fix)
    return ok(check, found)


def _check_ca_keys(files: FileFacts) -> list[Finding]:
    check = Check.FILES_CA_KEYS
    if not files.open_keys:
        return [ok(check, "only their owner can read the keys of CAs")]
    key = files.open_keys[0]
    count = counted(len(files.open_keys), "key")
    found = f"{count} of CAs may be used by others, such as {key.path} (mode {key.permissions})"
    return [error(check, found, "mode 0600", f"run `chmod 600 {files.state.path}/ca/*.key`")]


def _check_secrets(
    check: Check, secrets: tuple[SecretFile, ...], owner: Fact[Account], state: PathFacts | None
) -> list[Finding]:
    """Files that the configuration names. state: the directory in which they must not be."""
    findings = [_check_secret(check, secret, owner, state) for secret in secrets]
    if not findings and check is Check.FILES_PASSPHRASES:
        fix = "write a passphrase into a file outside of the state directory, and name it in [ca] passphrase_file"
        return [
            info(check, "none: the keys of CAs are not encrypted", "keys that a stolen backup does not reveal", fix)
        ]
    return findings


def _check_secret(check: Check, secret: SecretFile, owner: Fact[Account], state: PathFacts | None) -> Finding:
    path, node = secret.path, secret.path.node
    name = f"{secret.setting}: {path.path}"
    if node is None:
        missing = NotTried(f"{name}: {path.missing}")
        return unseen(check, missing, "a file that the server can read", "write it, or correct the configuration")
    if stat.S_IMODE(node.mode) & 0o007 and secret.setting not in ("tls.certificate", "tls.anchor"):
        found = f"{name}: every user can read it (mode {node.permissions})"
        return error(check, found, "mode 0600 or 0640", f"run `chmod o-rwx {path.path}`")
    if not isinstance(owner, NotTried):
        blocked = path.obstacle(owner, _READ)
        if blocked is not None:
            found = f"{name}: user {owner.name} may not read it ({blocked.path} has mode {blocked.permissions})"
            fix = f"run `chgrp {owner.name} {blocked.path}` and `chmod g+rX {blocked.path}`"
            return error(check, found, f"user {owner.name} can read it", fix)
    folder = None if state is None or state.node is None else state.node.path
    if folder in [part.path for part in path.nodes[:-1]]:
        found = f"{name} is in the state directory: who copies the keys copies the passphrase, too"
        fix = "move it to another directory, such as /etc/iot-registry"
        return warning(check, found, "a file outside of the state directory", fix)
    return ok(check, f"{name} (mode {node.permissions})")


def _check_tsig(files: FileFacts, owner: Fact[Account]) -> list[Finding]:
    check = Check.FILES_TSIG_KEY
    expected = "the key that the name server has, mode 0600 or 0640"
    problem = files.tsig_problem
    if files.tsig.node is not None and stat.S_IMODE(files.tsig.node.mode) & 0o007:
        found = f"{files.tsig.path} has mode {files.tsig.node.permissions}: whoever reads it can publish records"
        return [
            error(check, found, expected, f"run `chmod 600 {files.tsig.path}`, and change the key if others had it")
        ]
    if isinstance(problem, NotTried) and not is_forbidden(problem):
        fix = "put the name server's key there, or run `iot-registry dns-config`, which makes one"
        return [error(check, problem.why, expected, fix)]
    if isinstance(problem, NotTried):
        return [unseen(check, problem, expected, "")]
    if problem is not None:
        fix = "write the output of `keymgr -t NAME` or `tsig-keygen NAME` into it, the same as in the name server"
        return [error(check, problem, expected, fix)]
    finding = _check_secret(check, SecretFile("publication.tsig_key_file", files.tsig), owner, None)
    return [finding]
