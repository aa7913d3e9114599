"""The command line's own business: options, failures, progress, signals.

Doors: `options`, `failures.report`, `progress.open_reporter`, `signals.stopping_on_signals`. It
does not know what the commands do.
"""
