"""Evaluations as people ask for them, behind `eval`.

The door is `evaluation.evaluate_collection`, and `text` writes down what it found. What is measured,
and how, is `pipeline/evaluation`'s affair.
"""
