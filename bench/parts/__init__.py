"""What the scripts of this folder are made of. Each contestant runs in a process of its own: see `worker.py`."""
