"""Automatic configuration: each setting chosen from the data, from measurements or from rules, with its reason."""
