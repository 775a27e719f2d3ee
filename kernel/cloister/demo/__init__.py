"""Demo parties and seeded generators, for the tour, the tests and Binder."""
