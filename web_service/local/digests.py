"""The form in which tokens and API keys are stored. Pure."""

from __future__ import annotations

import hashlib


def secret_digest(secret: str) -> str:
    """SHA-256 in lower-case hex. The secrets have 256 random bits, so that a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()
