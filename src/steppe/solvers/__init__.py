"""Certified shallow networks: the variation-norm problem, its dual, solvers, certificates and estimators.

Provisional until 1.0.
"""
