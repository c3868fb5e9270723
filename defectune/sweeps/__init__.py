"""Grids of dataset × model × fold × seed: many calls of the library, one table."""
