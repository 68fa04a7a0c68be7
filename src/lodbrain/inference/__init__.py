"""From a scan to labels, volumes and files."""
