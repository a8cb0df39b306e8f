"""The whole platform as processes of its own, used and hurt from outside."""
