"""`python -m trust_sync.cli`."""

from trust_sync.cli import main

main(prog_name="trust-sync")
