"""`manage.py rebuild_rollups` and `manage.py reconcile_billing`."""
