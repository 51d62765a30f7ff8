"""FreeRADIUS configuration files, installed by `dane-radius install`. No logic lives here."""
