"""Mathematics and networks joined to models."""
