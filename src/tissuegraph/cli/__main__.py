"""`python -m tissuegraph.cli` is `tissuegraph`."""

from __future__ import annotations

import sys

from tissuegraph.cli import main

if __name__ == "__main__":
    sys.exit(main())
