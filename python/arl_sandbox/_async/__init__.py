"""The async face; the sync one is made from it: see python/make_sync.py."""
