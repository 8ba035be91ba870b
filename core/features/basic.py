"""Length of the file, the one column that is older than any analysis. Seconds."""

from core.features.frames import Frames


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``basic`` by column name."""
    return {"duration_s": frames.clip.duration_s}
