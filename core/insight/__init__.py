"""Why a run predicts what it predicts, and how far to trust it."""
