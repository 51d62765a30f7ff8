"""Puts the module into a FreeRADIUS installation, and takes it out again."""
