"""What `manage.py doctor` looks at, one module per area. Each check yields findings and changes nothing."""
