"""De-identification before sealing: operators declared in a recipe, and what they did to k-anonymity."""
