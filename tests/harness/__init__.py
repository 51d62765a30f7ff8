"""Real daemons for tests and the demo: started on loopback in a folder of their own, awaited, and ended."""
