"""Metrics, intervals, paired tests and the verdict: labels and probabilities in, figures with their uncertainty out."""
