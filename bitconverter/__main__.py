"""`python -m bitconverter`: the same as the `bitconverter` command."""

import sys

from bitconverter.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
