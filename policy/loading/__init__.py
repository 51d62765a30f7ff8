"""Reading a policy file: from its octets to a policy ready for use, or to a list of every mistake with its line."""
