"""Interfaces for workflow engines; each needs its engine, which is imported in its module only."""
