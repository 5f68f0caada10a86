"""Measurement: what a policy does in each domain, with how much certainty, as JSON and as a page.

Submodules are imported by name (`from simreal.evaluation.statistics import iqm`), so that a caller
who only aggregates results does not pay for the plotting libraries.
"""
