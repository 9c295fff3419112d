"""What a trained model does for others: predict new images."""
