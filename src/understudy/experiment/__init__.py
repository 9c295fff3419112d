"""One experiment: a method and its supervised baseline on one data set, from prepared data to a verdict."""
