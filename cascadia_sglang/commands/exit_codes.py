"""Codes that commands end with, besides 0 and the 2 of bad input."""

# Nothing keeps what was asked.
INFEASIBLE = 3
# Solved, but what was asked is not reached or not shown; or the time limit came first.
NOT_REACHED = 4
