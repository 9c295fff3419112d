"""Images and labels from any source: decoded once into rows of one shape, split into what trains and what judges."""
