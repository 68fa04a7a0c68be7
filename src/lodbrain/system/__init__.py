"""Operating system services: atomic file writing, locks, memory, signals and threads."""
