"""Test processes that run side by side compile side by side, which numba's cache on the disk does not bear (see
``core.features.prepare``): each keeps a cache of its own. This stands before anything imports numba."""

import os
from pathlib import Path

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["OMP_NUM_THREADS"] = "1"  # one core for each of them
    os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parent / ".pytest_cache" / f"numba-{worker}")
