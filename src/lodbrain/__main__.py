"""Entry point of ``python -m lodbrain``."""

import sys

from lodbrain.commands import main

if __name__ == "__main__":
    sys.exit(main())
