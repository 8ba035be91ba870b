"""What a number means: metrics, folds, intervals, comparisons, associations. Pure NumPy."""
