"""What must stay in one fold: leaks, ties, speakers."""
