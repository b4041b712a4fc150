"""How the long run counts examples."""

from tests.unit.fuzz.long import passing_examples

OUTPUT = """
tests/unit/fuzz/test_readers.py::test_a[own trace]:

  - during generate phase (5.38 seconds):
    - 400 passing, 0 failing, and 10 invalid test cases

tests/unit/fuzz/test_readers.py::test_a[sample]:

  - during reuse phase (0.01 seconds):
    - 1 passing, 0 failing, and 0 invalid test cases
  - during generate phase (5.38 seconds):
    - 20 passing, 0 failing, and 1 invalid test cases

tests/unit/fuzz/test_admin_routes.py::test_b:

  - during generate phase (5.38 seconds):
    - 7 passing, 0 failing, and 0 invalid test cases
"""


def test_the_examples_of_a_test_are_added_up() -> None:
    counts = passing_examples(OUTPUT)
    assert counts == {"test_readers test_a": 421, "test_admin_routes test_b": 7}
