"""What administrators and devices may ask for, each inside one transaction of the caller's.

Every function takes the session, who asks, and the time. It either does the whole thing (and writes the
audit log) or
raises `Refused` and has written nothing.
"""
