"""The content of a policy file as pydantic models: which keys there are, and which values each takes. No I/O."""
