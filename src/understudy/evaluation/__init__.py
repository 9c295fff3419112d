"""Judging predictions: arrays of classes and probabilities go in, figures with their uncertainty come out."""
