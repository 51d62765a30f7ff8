"""The policy language: which device names may join which network, and with what access."""
