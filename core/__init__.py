"""Earmark's library: audio regression from a folder of labelled clips to a trusted submission."""

__version__ = "0.1.0"
