"""Statistical contrast analysis of scans without labels."""
