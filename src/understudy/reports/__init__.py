"""Reports of finished runs as HTML pages and figures, made from their JSON alone."""
