"""Methods of semi-supervised learning, one file each; the name of the file is the name of the method."""
