"""Evaluations as people ask for them, and the gate that new versions pass: `eval`, `[quality]`.

The doors are `evaluation.evaluate_collection`, `gate.QualityGate` for runs, and
`promotion.promote_version`. What is measured, and how, is `pipeline/evaluation`'s affair.
"""
