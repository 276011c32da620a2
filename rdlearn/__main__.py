"""``python -m rdlearn``."""

import sys

from rdlearn.cli import main

sys.exit(main())
