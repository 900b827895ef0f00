"""`python -m narthex.cli`: the same as the command `narthex`."""

from __future__ import annotations

import sys

from narthex.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
