"""DNS lookups: the wire format, the clients of a resolver, the answer cache, and the engine that shares lookups."""

from dane_radius.dns.resolver import Client, LoopbackResolver, Resolver, TlsResolver
from dane_radius.dns.tls import tls_context

__all__ = ["Client", "LoopbackResolver", "Resolver", "TlsResolver", "tls_context"]
