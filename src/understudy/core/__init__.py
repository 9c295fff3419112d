"""The foundation every layer stands on: types, registry, settings, errors, randomness, budgets, processes."""
