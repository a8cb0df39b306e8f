"""Call logs: one row per request, with redacted summaries by default and encrypted full text where asked for.

`policy` what a tenant wants logged; `recorder` the web process's side, off the hot path; `ingestion` the jobs worker's;
`data_keys` the tenants' keys; `services` and `selectors` as everywhere; `pages` exports.
"""
