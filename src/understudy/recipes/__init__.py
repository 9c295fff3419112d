"""What is built around training runs: the job a command asks for."""
