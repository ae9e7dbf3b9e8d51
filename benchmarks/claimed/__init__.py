"""Claims of the lecture, a file each: `CLAIM` says what is tried and what decides."""
