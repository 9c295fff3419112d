"""Pages and sections of reports."""
