"""Values and decisions without I/O: names, standings, rules, decision log lines, SCIM."""
