"""``scripts/plain-debian``: this repository tried on a Debian that has nothing. Standard library only."""
