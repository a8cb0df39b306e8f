"""`manage.py createtenant`, `createapikey`, `audit_verify`, `audit_export`."""
