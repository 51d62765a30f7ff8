"""What belongs to this process and machine: configuration, metrics, the policy file."""
