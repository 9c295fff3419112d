"""Pure tensor functions that methods are written with."""
