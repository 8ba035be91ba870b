"""``python -m core.worker JOB_DIR``: does one job in a process of its own, and says in the job's folder what happened."""

import os
import sys
from pathlib import Path

from core.errors import EarmarkError
from core.jobs import read_job
from core.jobs.runner import Cancelled, perform
from core.runtime.pool import WORKER_ENVIRONMENT


def main(folder: str) -> int:
    """Do the job; the exit code is 0 where it is done."""
    os.environ.update(WORKER_ENVIRONMENT)  # before a numeric library starts its threads
    try:
        job = read_job(Path(folder))
        from core.tasks.kinds import work

        perform(job, work)
    except (EarmarkError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except (Cancelled, KeyboardInterrupt):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
