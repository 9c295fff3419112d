"""What is known about images before training: duplicates, bad files, outliers, label errors, images to label next."""
