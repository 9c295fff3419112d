"""One module per kind of source; each turns what the user gave into a `Table`."""
