"""Side by side with named peers: the same work by turns, or the same time one after another."""
