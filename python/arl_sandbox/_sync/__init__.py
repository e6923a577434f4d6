"""The sync face: `_calls.py` is written by hand, the rest is made from the async one by python/make_sync.py."""
