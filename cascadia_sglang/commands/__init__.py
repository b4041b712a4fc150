"""What `cascadia NAME` does: a module a command, with `add_arguments` and `run`.

Besides 0 and the 2 of bad input, commands end with these codes.
"""

# Nothing keeps what was asked.
INFEASIBLE = 3
# Solved, but what was asked is not reached or not shown; or the time limit came first.
NOT_REACHED = 4
