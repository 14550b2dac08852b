"""``python -m sia`` is the command `sia`."""

import sys

from sia.cli import main

sys.exit(main())
