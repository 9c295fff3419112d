"""The training loop and what it keeps: state, decisions, run folders, optimizers and the one prediction loop."""
