"""`tenshot export`: a model version made into files that work elsewhere, checked, and put in place whole."""
