"""What a host must have for a job: one check a function, each with its remedy.

Doors: one file an area. Checks start nothing and change nothing.
"""
