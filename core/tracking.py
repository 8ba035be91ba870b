"""``core.runs.tracking`` under its earlier name, by which it may still be started."""

import sys

from core.runs.tracking import main as main, mirror as mirror

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
