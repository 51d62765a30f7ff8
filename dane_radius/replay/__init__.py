"""Logged decisions under another policy: who would lose, gain or change access. Pure, except for `log_files`.

`logged` reads a line of the decision log, `outcome` says what a policy makes of it, `changes` compares and groups.
"""
