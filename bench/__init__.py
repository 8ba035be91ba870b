"""Measurements that write bench.md; nothing of the product imports them."""
