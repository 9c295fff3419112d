"""What every layer uses: types, registry, configuration, errors, seeding, budgets, files, processes."""
