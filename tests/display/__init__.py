"""Progress and results as a person sees them."""
