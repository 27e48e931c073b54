"""How fast this library is on this machine, as a share of what the machine can do, and beside its peers.

`run.benchmark` measures and returns one document that JSON can hold; table.py and roofline.py show it.
"""
