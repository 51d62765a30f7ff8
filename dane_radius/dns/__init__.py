"""What the module asks the DNS: the codec, the resolver's sockets, and the engine that keeps and shares answers."""
