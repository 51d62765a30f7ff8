"""DANE authorization for EAP-TLS: whether the DNS vouches for a client certificate, and what access policy grants."""

from importlib.metadata import PackageNotFoundError, version

try:
    # setup.cfg has it, and nothing else.
    __version__ = version("dane-radius")
except PackageNotFoundError:
    # On the path without being installed.
    __version__ = "unknown"
