"""Version of the package, read by the build, the command line and the writers of output files."""

__version__ = "0.1.0"
