"""Keys, certificate requests and certificates. No database, no network; files only in `keys`."""
