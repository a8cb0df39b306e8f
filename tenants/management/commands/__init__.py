"""`manage.py createtenant`, `manage.py createapikey`."""
