"""What a run leaves behind for those who watch it.

Door: `metrics.write_metrics`. It does not know how a run is made.
"""
