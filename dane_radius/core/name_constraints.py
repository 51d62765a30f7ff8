"""Name constraints of a CA (RFC 5280 section 4.2.1.10), checked for all names of all certificates below it.

Constraints on dNSName, directoryName and iPAddress are evaluated. A constraint on another name form refuses each
certificate with a name of that form: section 4.2.1.10 requires a verifier to process a constraint or to reject.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

from dane_radius.core.work import Work

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class ConstraintError(ValueError):
    """A name violates the name constraints of a CA; the text says which name."""


def check_name_constraints(issuer: x509.Certificate, below: Sequence[x509.Certificate], work: Work) -> None:
    """Raises ConstraintError unless `issuer` permits all names of the certificates `below` it (the leaf first).

    A self-issued certificate is exempt unless it is the leaf (RFC 5280 section 6.1.3 (b), (c)). Raises TooMuchWork if
    there are too many pairs of a name and a constraint.
    """
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    for position, certificate in enumerate(below):
        if position and certificate.subject == certificate.issuer:
            continue
        names = _names(certificate)
        work.count_comparisons(len(names) * (len(permitted) + len(excluded)))
        for name in names:
            _check(name, permitted, excluded)


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """All names in a certificate: those in its SAN, its subject, and the e-mail addresses in its subject."""
    names: list[x509.GeneralName] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        names += certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if list(certificate.subject):
        names.append(x509.DirectoryName(certificate.subject))
    names += [
        x509.RFC822Name(str(attribute.value))
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
    ]
    return names


def _check(name: x509.GeneralName, permitted: Sequence[x509.GeneralName], excluded: Sequence[x509.GeneralName]) -> None:
    same = [base for base in permitted if type(base) is type(name)]
    other = [base for base in excluded if type(base) is type(name)]
    if not same and not other:
        return
    if not isinstance(name, x509.DNSName | x509.DirectoryName | x509.IPAddress):
        raise ConstraintError(f"name constraints on a {type(name).__name__}, which are not evaluated")
    if same and not any(_within(name, base, strict=True) for base in same):
        raise ConstraintError(f"name constraints permit {_text(same)} only, not {_text([name])}")
    for base in other:
        if _within(name, base, strict=False):
            raise ConstraintError(f"name constraints exclude {_text([base])}, and {_text([name])} with it")


def _text(names: Sequence[x509.GeneralName]) -> str:
    return ", ".join(n.rfc4514_string() if isinstance(n := name.value, x509.Name) else str(n) for name in names)


def _within(name: x509.GeneralName, base: x509.GeneralName, *, strict: bool) -> bool:
    """Whether `base` covers `name`. `strict`: a match that depends on a non-standard spelling does not count."""
    match name, base:
        case x509.DNSName(), x509.DNSName():
            return _dns_within(name.value.lower(), base.value.lower(), strict=strict)
        case x509.IPAddress(), x509.IPAddress():
            return _ip_within(name.value, base.value)
        case x509.DirectoryName(), x509.DirectoryName():
            return _directory_within(name.value, base.value, strict=strict)
    return not strict


def _dns_within(name: str, base: str, *, strict: bool) -> bool:
    if strict:
        # A leading dot is the syntax for URIs. OpenSSL accepts it, and then permits the names below the base only.
        return not base or name.endswith(base if base.startswith(".") else "." + base) or name == base
    name, base = name.strip("."), base.strip(".")
    return not base or name == base or name.endswith("." + base)


def _directory_within(name: x509.Name, base: x509.Name, *, strict: bool) -> bool:
    if strict:
        return list(name.rdns)[: len(base.rdns)] == list(base.rdns)
    return _folded(name)[: len(base.rdns)] == _folded(base)


def _folded(name: x509.Name) -> list[frozenset[tuple[str, str]]]:
    """The name without differences in case and white space, which do not count (RFC 5280 section 7.1)."""
    return [
        frozenset((attribute.oid.dotted_string, " ".join(str(attribute.value).casefold().split())) for attribute in rdn)
        for rdn in name.rdns
    ]


def _ip_within(address: IpAddress | IpNetwork, network: IpAddress | IpNetwork) -> bool:
    return (
        isinstance(address, IpAddress)
        and isinstance(network, IpNetwork)
        and address.version == network.version
        and address in network
    )
