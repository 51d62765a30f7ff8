"""Certification paths for the TLSA usages that need one (0, 1, 2 and the opt-in 4).

A path consists of the leaf and of certificates held for its name's identity domain. Intermediate certificates from the
device and stores of public CAs are not used. The cryptography library verifies the signatures; this module checks the
rules of RFC 5280 section 6.1 that concern device certificates. General-purpose verifiers apply the profile of the web
PKI, which refuses the underscore in `_device` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from dane_radius.core.certificate import Leaf, candidate_names, parse_leaf
from dane_radius.core.name_constraints import ConstraintError, check_name_constraints
from dane_radius.core.reasons import Refused
from dane_radius.core.work import MAX_CHAIN_CERTIFICATE_OCTETS, MAX_RSA_BITS, MAX_RSA_EXPONENT_BITS, Work

# More than any device deployment needs. The search is exponential in the worst case.
MAX_PATH_CERTIFICATES = 8
_MIN_RSA_BITS = 2048

# The extensions that this module processes. Any other critical one makes a certificate unusable (RFC 5280 section 4.2).
_KNOWN_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)


# What cryptography raises for certificates that it cannot parse. Several of these are not ValueErrors.
_PARSE_ERRORS = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)


class ChainError(ValueError):
    """A certificate cannot be part of a path; the text says why."""


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate above the leaf: its exact bytes, its key's exact bytes, and its subject for messages."""

    der: bytes
    spki: bytes
    subject: str


@dataclass(frozen=True, slots=True)
class Path:
    """A verified path: the certificates above the leaf, from its issuer to the trust anchor."""

    links: tuple[Link, ...]

    def __str__(self) -> str:
        return " < ".join(["leaf", *(link.subject for link in self.links)]) if self.links else "leaf (self-signed)"


@dataclass(frozen=True, slots=True)
class _Parsed:
    certificate: x509.Certificate
    link: Link
    # Why no path may contain it; None if one may.
    problem: str | None


@lru_cache(maxsize=4096)
def _parse(der: bytes) -> _Parsed:
    """Raises ChainError if the bytes are not a certificate."""
    try:
        outline = parse_leaf(der)
        if outline.serial <= 0:
            raise ChainError(f"serial number {outline.serial}, a positive one expected (RFC 5280 section 4.1.2.2)")
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject.rfc4514_string()
        problem = _intrinsic_problem(certificate)
        # cryptography parses these on access. An error must be raised here, not in the middle of the search.
        _ = (certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except Refused as error:
        raise ChainError(error.detail) from error
    except _PARSE_ERRORS as error:
        raise ChainError(f"not a certificate: {error}") from error
    return _Parsed(certificate, Link(der, outline.spki, subject or "(empty subject)"), problem)


def _intrinsic_problem(certificate: x509.Certificate) -> str | None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            return f"unknown critical extension {extension.oid.dotted_string}"
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"unusable key: {error}"
    if isinstance(key, rsa.RSAPublicKey):
        if not _MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return f"RSA key of {key.key_size} bits, {_MIN_RSA_BITS} to {MAX_RSA_BITS} expected"
        exponent = key.public_numbers().e.bit_length()
        if exponent > MAX_RSA_EXPONENT_BITS:
            return f"RSA exponent of {exponent} bits, at most {MAX_RSA_EXPONENT_BITS} expected"
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA keys are not used"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < 256:
        return f"curve {key.curve.name} is too small"
    return None


def verify_paths(
    leaf: Leaf,
    name: str,
    trusted: Sequence[bytes],
    intermediates: Iterable[bytes],
    now: datetime,
    *,
    enough: Callable[[Path], bool] | None = None,
    work: Work | None = None,
) -> tuple[list[Path], list[str]]:
    """All valid paths from `leaf` to one of `trusted`, shortest first, and the reasons why other attempts failed.

    `name`: the device's name, which must be in the leaf's SAN. `trusted`: the trust anchors, `intermediates`: other
    certificates that a path may contain, both in DER. If the leaf itself is trusted, there is an empty path. `now` must
    be aware; all certificates must be valid at that time. The search ends at the first path that is `enough`.

    Raises TooMuchWork beyond the limits of `work`.
    """
    failures: dict[str, None] = {}
    search = _Search(now, enough or _never_enough, work or Work(), failures)
    try:
        parsed_leaf = search.parse(leaf.der)
        if parsed_leaf.problem:
            raise ChainError(parsed_leaf.problem)
        if name not in candidate_names(leaf):
            raise ChainError(f"its subjectAltName does not name {name}")
        _check_dates(parsed_leaf.certificate, now)
        _check_leaf(parsed_leaf.certificate)
    except ChainError as error:
        return [], [f"leaf: {error}"]
    except Refused as refusal:
        return [], [f"leaf: {refusal.detail}"]
    anchors: dict[bytes, _Parsed] = {}
    pool: dict[bytes, _Parsed] = {}
    for target, ders in ((anchors, trusted), (pool, intermediates)):
        for der in ders:
            try:
                parsed = search.parse(der)
            except ChainError as error:
                failures[str(error)] = None
            else:
                target[parsed.link.der] = parsed
    if leaf.der in anchors:
        search.paths.append(Path(()))
    search.extend([parsed_leaf], anchors, {**pool, **anchors})
    paths = search.paths
    if not paths and not failures:
        failures[f"no certificate is held whose subject is the leaf's issuer, {_issuer(parsed_leaf)}"] = None
    paths.sort(key=lambda path: len(path.links))
    return paths, list(failures)


def _never_enough(_: Path) -> bool:
    return False


def _issuer(parsed: _Parsed) -> str:
    return parsed.certificate.issuer.rfc4514_string() or "(empty)"


@dataclass(slots=True)
class _Search:
    """A depth-first search for paths, and its results."""

    now: datetime
    enough: Callable[[Path], bool]
    work: Work
    failures: dict[str, None]
    paths: list[Path] = field(default_factory=list)

    def parse(self, der: bytes) -> _Parsed:
        """Raises ChainError, TooMuchWork."""
        if len(der) > MAX_CHAIN_CERTIFICATE_OCTETS:
            raise ChainError(f"a certificate of {len(der)} octets, at most {MAX_CHAIN_CERTIFICATE_OCTETS} expected")
        self.work.count_parse(len(der))
        return _parse(der)

    def extend(self, chain: list[_Parsed], anchors: dict[bytes, _Parsed], candidates: dict[bytes, _Parsed]) -> bool:
        """Try each possible issuer of the chain's last certificate. Returns whether the search is over."""
        child = chain[-1]
        for der, issuer in candidates.items():
            if issuer.certificate.subject != child.certificate.issuer or any(der == known.link.der for known in chain):
                continue
            self.work.count_step()
            try:
                _check_issuer(issuer, chain, self.now, self.work)
            except ChainError as error:
                self.failures[f"{issuer.link.subject}: {error}"] = None
                continue
            longer = [*chain, issuer]
            if der in anchors:
                path = Path(tuple(parsed.link for parsed in longer[1:]))
                self.paths.append(path)
                if self.enough(path):
                    return True
            if len(longer) <= MAX_PATH_CERTIFICATES and self.extend(longer, anchors, candidates):
                return True
        return False


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise ChainError(f"not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S}Z")
    if now > certificate.not_valid_after_utc:
        raise ChainError(f"expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S}Z")


def _check_leaf(certificate: x509.Certificate) -> None:
    """Raises ChainError unless a client may authenticate with the certificate.

    The extended key usage must be absent or contain clientAuth or anyExtendedKeyUsage (RFC 5216 section 5.3). The key
    usage must be absent or contain digitalSignature (RFC 5280 section 4.2.1.3).
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
            found = ", ".join(oid._name for oid in usage)
            raise ChainError(f"extended key usage is {found}; clientAuth is expected")
    try:
        key_usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not key_usage.digital_signature:
        raise ChainError("key usage does not allow digital signatures")


def _check_issuer(issuer: _Parsed, chain: list[_Parsed], now: datetime, work: Work) -> None:
    """Raises ChainError unless `issuer` may have issued the last certificate of `chain` (RFC 5280 section 6.1)."""
    certificate = issuer.certificate
    if issuer.problem:
        raise ChainError(issuer.problem)
    _check_dates(certificate, now)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound as error:
        raise ChainError("not a CA (no basic constraints)") from error
    if not constraints.ca:
        raise ChainError("not a CA (CA:FALSE)")
    # Self-issued certificates do not count against the path length (RFC 5280 section 4.2.1.9).
    between = sum(1 for parsed in chain[1:] if parsed.certificate.subject != parsed.certificate.issuer)
    if constraints.path_length is not None and between > constraints.path_length:
        raise ChainError(f"path length constraint {constraints.path_length} exceeded")
    try:
        if not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            raise ChainError("key usage does not allow signing certificates")
    except x509.ExtensionNotFound:
        pass
    _check_extended_key_usage(certificate)
    try:
        check_name_constraints(certificate, [parsed.certificate for parsed in chain], work)
    except ConstraintError as error:
        raise ChainError(str(error)) from error
    _check_signature_hash(chain[-1].certificate)
    work.count_signature()
    try:
        chain[-1].certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ChainError("its key did not sign the certificate below it") from error


def _check_extended_key_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        raise ChainError("its extended key usage excludes clientAuth")


def _check_signature_hash(certificate: x509.Certificate) -> None:
    """Raises ChainError for MD5 and SHA-1. Called for each signature of a path; a trust anchor's own is not checked."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise ChainError(f"the certificate below it is signed with an unknown algorithm: {error}") from error
    if algorithm is not None and algorithm.name in ("md5", "sha1"):
        raise ChainError(f"the certificate below it is signed with {algorithm.name}")
