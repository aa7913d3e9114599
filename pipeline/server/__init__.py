"""An embedding server of our own: started, proven, watched, restarted and ended.

Doors: `service.managed_service`, `serving.keep_serving`, `intrusion.audit_access`. What speaks to
any server, also to somebody else's, is in `pipeline/embedding`.
"""
