"""Clips in, vectors and matrices out, each computed once."""
