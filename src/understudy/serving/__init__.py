"""What a trained model is used for: predictions of new images, pseudo-labels, generated images."""
