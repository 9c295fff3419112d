"""What recipes share: features, heads, labels of the pool, and the decisions between rounds."""
