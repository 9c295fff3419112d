"""What a person sees of a run: progress while it trains, and tables when it ends."""
