"""`python -m bitconverter`: the same as the `bitconverter` command."""

import sys

if __name__ == "__main__":
    try:
        from bitconverter.cli.main import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
