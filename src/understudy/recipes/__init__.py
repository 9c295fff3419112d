"""Recipes: ways to combine several `fit` calls into one classifier."""
