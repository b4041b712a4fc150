"""HumanEval: its problems, and a process that runs what models write to them."""
