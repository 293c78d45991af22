"""Trees of processes: what dies is started again, what is due is replaced, all stop in order.

`supervisor` is the tree, `keeper` keeps one part of it running, `run` is one run of a part's
process, and `child` is what such a process does for its parent.
"""
