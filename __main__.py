"""``python -m videograin``: the same as the ``videograin`` command."""

import sys

from .runner.cli import main

if __name__ == "__main__":
    sys.exit(main())
