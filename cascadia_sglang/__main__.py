"""`python -m cascadia_sglang` is the command `cascadia`."""

import sys

from cascadia_sglang.cli import main

sys.exit(main())
