"""What people, monitors and RADIUS nodes may ask for.

A function takes the caller's session, the principal and the time. It carries the request out completely and writes the
audit log, or it raises `Refused`, and the caller's transaction must be rolled back.
"""
