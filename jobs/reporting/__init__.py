"""What a report says, gathered from ledger and collection, and the page left where it is wanted.

Doors: `report.make_report` for a command, `leaving.leaving_report` for what runs. It does not know
how the page looks; `pipeline/report` does.
"""
