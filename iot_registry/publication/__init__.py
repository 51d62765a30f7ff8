"""What the DNS must say about each device, and making it say so."""
