"""Train a model: `tissuegraph train`, with the same flags."""

from __future__ import annotations

import sys

from tissuegraph.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
