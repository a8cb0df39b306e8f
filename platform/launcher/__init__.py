"""Starts and supervises everything that one machine needs: `python -m launcher up` is what `make run` ends in.

Standard library, psycopg and redis only: it never imports Django or anything of ours, so that the process that
must outlive all others stays small. Nothing else may import it except the tests.
"""
