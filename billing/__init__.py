"""What tenants use and what they pay: usage records now; prices, holds, ledger and invoices with their own issues.

Imported by inference and config; imports models_registry and what lies below it, never upwards.
"""
