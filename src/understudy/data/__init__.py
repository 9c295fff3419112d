"""Images and labels from any source: decoded once into rows of one shape, split into training, validation and test."""
