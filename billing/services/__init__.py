"""Writes of this app.

`usage` stores usage records, `settlement` charges for them; `escrow` sets money aside for admission; `wallets` and
`corrections` move it; `prices` says what things cost. All of them write to the ledger through `ledger.post`, and
`verification` finds what does not add up.
"""
