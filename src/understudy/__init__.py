"""Train an image classifier from a few labeled images and a pile of unlabeled ones, and prove whether they helped."""
