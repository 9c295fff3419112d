"""One experiment: a method and its supervised baseline on one data set, from the options to the verdict."""
