"""The difference between two MUD files: for a program, whether it widens access; for a person, in sentences."""

from mud.comparison.comparison import Change, Comparison, compare
from mud.comparison.coverage import covers, may_overlap, widens

__all__ = ["Change", "Comparison", "compare", "covers", "may_overlap", "widens"]
