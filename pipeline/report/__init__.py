"""What a run leaves behind for those who watch it: metrics, its pace, and a page to read.

Doors: `metrics.render_metrics`, `pace.PaceRecorder`, and `page.render_report` for the contents of
`contents.py`. It does not know how a run is made, nor where what it shows is kept.
"""
