"""Attacks on runs, run folders and inputs: a seeded sample in the suite, the long versions behind `make faults`."""
