"""What is known of a collection before training: copies, bad files, outliers, doubted labels, what to label next."""
