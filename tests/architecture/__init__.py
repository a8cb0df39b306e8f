"""Rules about the code itself: layout, layers, scopes, migrations, sizes."""
