"""Run the command line as `python -m simreal`, where the console script is not on the path."""

import sys

from simreal.cli import main

if __name__ == "__main__":
    sys.exit(main())
