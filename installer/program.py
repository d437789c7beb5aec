"""The start of the frozen program, for both of its exe files."""

import sys

from bitconverter.cli.main import main

sys.exit(main())
