"""What is made of the published study: its check, its audit, its figures, and its import into a store."""
