"""Makes what is handed out: Debian packages, wheel and sdist, manual pages, completion and the list of components."""
