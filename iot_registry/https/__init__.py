"""Accepting HTTPS connections: bounds and deadlines for each, TLS, and problem bodies for what is refused."""
