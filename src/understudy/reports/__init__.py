"""Figures of finished runs, drawn from their plain values alone."""
