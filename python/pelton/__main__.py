"""`python -m pelton`: the command line without the `pelton` script."""

import sys

from pelton.cli import main

if __name__ == "__main__":
    sys.exit(main())
