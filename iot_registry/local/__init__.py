"""What belongs to this process and its machine: configuration, clock, log, metrics, key files."""
