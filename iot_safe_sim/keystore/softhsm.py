"""Keys in a SoftHSM2 token over PKCS#11: generated inside it, sensitive, never extractable. No key file exists."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import KDF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from iot_safe_sim.durable_file import write_atomically
from iot_safe_sim.interface import POINT_SIZE, prehashed, public_key
from iot_safe_sim.keystore.base import KeyStoreError, SupplicantKey, UnknownKeyError, new_handle

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
TOKEN_LABEL = "iot-safe"  # noqa: S105  # a token's label, not a secret
_CURVE = encode_named_curve_parameters("secp256r1")
#: The open store and its directory. C_Initialize reads the configuration once for the whole process.
_active: tuple[Path, SoftHsmKeyStore] | None = None


class SoftHsmKeyStore:
    """Key pairs in the token of `directory`. First use creates the token, with a random PIN in `pin` (mode 0600).

    A process has one PKCS#11 library, so opening a second store closes the first.
    """

    name = "softhsm"

    def __init__(self, directory: Path, *, module: str = MODULE) -> None:
        self._directory = directory.absolute()
        self._module = module
        self._session: Any = None
        self._volatile: dict[str, Any] = {}
        if not Path(module).exists():
            raise KeyStoreError(f"{module}: no such PKCS#11 module (Debian: softhsm2), or use the software key store")
        if not self._pin_file.exists():
            self._create_token()
        self._open()

    @property
    def configuration(self) -> Path:
        """The SoftHSM2 configuration file, for SOFTHSM2_CONF."""
        return self._directory / "softhsm2.conf"

    @property
    def _pin_file(self) -> Path:
        return self._directory / "pin"

    def _create_token(self) -> None:
        """Initialise the token. The PIN file is written last: without it, the next start initialises again."""
        tokens = self._directory / "tokens"
        try:
            tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            for leftover in sorted(tokens.rglob("*"), reverse=True):
                leftover.rmdir() if leftover.is_dir() else leftover.unlink()
            write_atomically(
                self.configuration,
                f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n".encode(),
            )
        except OSError as error:
            raise KeyStoreError(f"{self._directory}: {error.strerror}") from error
        # 24 digits: OpenSSL's PKCS#11 engine reads at most 31 from a pin-source file and truncates a longer PIN.
        pin = secrets.token_hex(12)
        # The security officer's PIN is not kept, so that nobody can reset the user's PIN and keep the keys.
        command = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN_LABEL]
        command += ["--so-pin", secrets.token_hex(16), "--pin", pin]
        environment = {**os.environ, "SOFTHSM2_CONF": str(self.configuration)}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KeyStoreError(f"softhsm2-util: {error}") from error
        if done.returncode:
            raise KeyStoreError(f"softhsm2-util: {(done.stderr or done.stdout).strip()}")
        try:
            write_atomically(self._pin_file, pin.encode())
        except OSError as error:
            raise KeyStoreError(f"{self._pin_file}: {error.strerror}") from error

    def _open(self) -> None:
        global _active
        if _active is not None:
            _active[1].close()
        os.environ["SOFTHSM2_CONF"] = str(self.configuration)
        with _translated("opening the token"):
            library = pkcs11.lib(self._module)
            library.reinitialize()
            token = library.get_token(token_label=TOKEN_LABEL)
            self._session = token.open(rw=True, user_pin=self._pin_file.read_text().strip())
        _active = (self._directory, self)

    def generate(self, *, persistent: bool) -> tuple[str, bytes]:
        """See KeyStore.generate."""
        handle = new_handle()
        with _translated("making a key pair"):
            parameters = self._open_session().create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: _CURVE}, local=True
            )
            public, private = parameters.generate_keypair(
                mechanism=Mechanism.EC_KEY_PAIR_GEN,
                store=persistent,
                id=bytes.fromhex(handle),
                label=handle,
                private_template={
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.SIGN: True,
                    Attribute.DERIVE: True,
                },
            )
            # DER OCTET STRING around the point (PKCS#11 2.40, section 2.3.3).
            point = bytes(public[Attribute.EC_POINT])[-POINT_SIZE:]
            if not persistent:
                # The public half of a persistent key stays in the token, where OpenSSL's engine looks it up.
                public.destroy()
                self._volatile[handle] = private
        return handle, point

    def sign(self, handle: str, digest: bytes) -> bytes:
        """See KeyStore.sign."""
        try:
            prehashed(digest)
        except ValueError as error:
            raise KeyStoreError(str(error)) from error
        # CKM_ECDSA takes the leftmost bits of the digest, as many as the curve has (FIPS 186-4 section 6.4).
        with _translated("signing"):
            return bytes(self._key(handle).sign(digest[:32], mechanism=Mechanism.ECDSA))

    def agree(self, handle: str, point: bytes) -> bytes:
        """See KeyStore.agree."""
        try:
            public_key(point)
        except ValueError as error:
            raise KeyStoreError(str(error)) from error
        with _translated("key agreement"):
            shared = self._key(handle).derive_key(
                KeyType.GENERIC_SECRET,
                256,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False},
            )
            value = bytes(shared[Attribute.VALUE])
            shared.destroy()
        return value

    def store_secret(self, value: bytes) -> str:
        """A private data object, which the token encrypts under the PIN. See KeyStore.store_secret."""
        handle = new_handle()
        with _translated("storing a secret"):
            self._open_session().create_object(
                {
                    Attribute.CLASS: ObjectClass.DATA,
                    Attribute.TOKEN: True,
                    Attribute.PRIVATE: True,
                    Attribute.LABEL: handle,
                    Attribute.VALUE: value,
                }
            )
        return handle

    def secret(self, handle: str) -> bytes:
        """See KeyStore.secret."""
        with _translated("reading a secret"):
            for item in self._objects(ObjectClass.DATA, handle):
                return bytes(item[Attribute.VALUE])
        raise UnknownKeyError(f"secret {handle} is not in the token")

    def destroy(self, handle: str) -> None:
        """See KeyStore.destroy."""
        with _translated("destroying a key"):
            volatile = self._volatile.pop(handle, None)
            if volatile is not None:
                volatile.destroy()
                return
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.DATA):
                for item in self._objects(kind, handle):
                    item.destroy()

    def handles(self) -> set[str]:
        """See KeyStore.handles."""
        found = set()
        with _translated("listing the token"):
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.DATA):
                found |= {item[Attribute.LABEL] for item in self._objects(kind, None)}
        return found - set(self._volatile)

    def supplicant_key(self, handle: str) -> SupplicantKey:
        """A PKCS#11 URI (RFC 7512) that names the key and the file with the PIN."""
        self._key(handle)
        uri = f"pkcs11:token={TOKEN_LABEL};object={handle};type=private?pin-source={self._pin_file}"
        return SupplicantKey(uri, self._pin_file, (("SOFTHSM2_CONF", str(self.configuration)),))

    def close(self) -> None:
        """See KeyStore.close."""
        global _active
        self._volatile.clear()
        session, self._session = self._session, None
        if _active is not None and _active[1] is self:
            _active = None
        if session is not None:
            with contextlib.suppress(pkcs11.PKCS11Error):
                session.close()

    def _open_session(self) -> Any:
        if self._session is None:
            raise KeyStoreError("the token is closed")
        return self._session

    def _objects(self, kind: ObjectClass, handle: str | None) -> list[Any]:
        wanted: dict[Attribute, Any] = {Attribute.CLASS: kind}
        if handle is not None:
            wanted[Attribute.LABEL] = handle
        return list(self._open_session().get_objects(wanted))

    def _key(self, handle: str) -> Any:
        if handle in self._volatile:
            return self._volatile[handle]
        with _translated("finding a key"):
            found = self._objects(ObjectClass.PRIVATE_KEY, handle)
        if not found:
            raise UnknownKeyError(f"key {handle} is not in the token")
        return found[0]


@contextlib.contextmanager
def _translated(action: str) -> Iterator[None]:
    """Turn what python-pkcs11 raises into KeyStoreError."""
    try:
        yield
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        raise KeyStoreError(f"{action}: {type(error).__name__} {error}".rstrip()) from error
