"""Figures of reports, drawn from JSON."""
