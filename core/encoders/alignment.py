"""What the heads of a decoder attend to in, when each token of its text is said out: dynamic time warping. Frames of 0.02 s."""

import numpy as np

FRAME_S = 0.02  # of the encoder


def word_edges(weights: np.ndarray, *, skip: int, width: int = 7) -> np.ndarray:
    """When tokens begin, from what heads of a decoder attend to while it reads them.

    Parameters
    ----------
    weights : np.ndarray [shape=(heads, rows, frames)], >= 0, of frames of 0.02 s; each frame is judged among all rows
    skip : int, first rows that are about no token of the text; nor is the last one
    width : int, odd, frames of the median filter

    Returns
    -------
    edges_s : np.ndarray [shape=(rows - skip - 1,)], never falling
    """
    weights = weights.astype(np.float64)  # where a frame is hardly looked at, it still counts who looks at it most
    least = np.finfo(np.float32).tiny
    share = weights / np.maximum(weights.sum(axis=-1, keepdims=True), least)
    score = (share - share.mean(axis=1, keepdims=True)) / np.maximum(share.std(axis=1, keepdims=True), least)
    half = width // 2
    if score.shape[-1] > half:
        around = np.pad(score, ((0, 0), (0, 0), (half, half)), mode="reflect")
        score = np.partition(np.lib.stride_tricks.sliding_window_view(around, width, axis=-1), half, axis=-1)[..., half]
    return first_frames(-score.mean(axis=0)[skip:-1]) * FRAME_S


def first_frames(cost: np.ndarray) -> np.ndarray:
    """First frame of each row on the cheapest path from the first row and frame to the last ones (dynamic time warping).

    A path goes on by a row, by a frame or by both. Along a row its sums are D[j] = min over k <= j of (M[k] - S[k - 1]) + S[j],
    with S the running sum of the costs and M[k] the cheapest way down to frame k.

    Parameters
    ----------
    cost : np.ndarray [shape=(rows, frames)], both >= 1

    Returns
    -------
    frames : np.ndarray [shape=(rows,)], int, never falling
    """
    rows, frames = cost.shape
    sums = np.cumsum(cost.astype(np.float64), axis=1)
    before = sums - cost
    path = np.empty((rows, frames))
    path[0] = sums[0]
    for row in range(1, rows):
        above = path[row - 1]
        down = np.minimum(above, np.concatenate([[np.inf], above[:-1]]))
        path[row] = np.minimum.accumulate(down - before[row]) + sums[row]
    first = np.zeros(rows, np.int64)
    row, frame = rows - 1, frames - 1
    while row > 0:
        ways = [
            (path[row - 1, frame - 1] if frame else np.inf, -1, -1),
            (path[row - 1, frame], -1, 0),
            (path[row, frame - 1] if frame else np.inf, 0, -1),
        ]
        _, up, back = min(ways, key=lambda way: way[0])
        if up:
            first[row] = frame
        row, frame = row + up, frame + back
    return first
