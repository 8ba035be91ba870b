"""Files in, checked rows out: audio, tables, reports, copies, uploads."""
