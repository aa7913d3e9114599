"""What the local disk asks of a program: locks, scratch space, full disks, a bounded heap.

Doors: `lock.RunLock`, `scratch.open_scratch`, `errors.explain_disk`, `heap.bound_heap`. It does not
know what is written.
"""
