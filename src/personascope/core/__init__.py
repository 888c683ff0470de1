"""Values that every other part is built on, and the files they are kept in."""
