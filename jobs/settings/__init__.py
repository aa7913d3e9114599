"""Settings put together: flag, environment, `.env`, job file, default.

Doors: `loading.load_settings`, `show.render_config`. What the settings are stands in
`schemas/settings.py`.
"""
