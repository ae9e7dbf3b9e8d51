"""The identities of the lecture as checks that run."""
