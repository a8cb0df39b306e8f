"""Writes of this app, by aggregate: `models`, `versions`, `aliases`, `grants`, `deployments`; and `demo`.

Each is one transaction, writes the audit trail and, once committed, tells every process
(`announce("registry")`).
"""
