"""Parameters, but no loss and no sampling."""
