"""vaultstore."""
