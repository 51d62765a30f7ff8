"""How the DNS is asked: the codec, the resolver's sockets, and the engine that keeps and shares answers."""

from dane_radius.dns.resolver import Client, LoopbackResolver, Resolver, TlsResolver

__all__ = ["Client", "LoopbackResolver", "Resolver", "TlsResolver"]
