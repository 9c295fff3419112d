"""What an expert would set, looked up in the data and measured on the machine: each choice with its reason."""
