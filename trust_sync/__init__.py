"""Keeps trust anchors current, finds unknown ones just in time, and ends sessions of revoked devices."""
