"""What an expert would choose, looked up in the data and measured on the machine: each choice with its reason."""
