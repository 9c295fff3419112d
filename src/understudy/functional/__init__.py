"""Pure tensor functions the methods are written with."""
