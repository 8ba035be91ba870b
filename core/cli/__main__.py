"""``python -m core.cli``: as ``earmark``."""

import sys

from core.cli import main

sys.exit(main())
