"""personascope: persona vectors, from a trait's description to its path through training."""
