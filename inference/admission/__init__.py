"""Admission: one atomic step in Valkey that decides rates, quotas, concurrency and the money hold together.

`client` asks, `scripts` decides, `rules` says what counts for a caller, `escrow` fetches money from PostgreSQL,
`seeds` the month's sums; `release` and `sweep` give back what settlement and crashes leave.
"""
