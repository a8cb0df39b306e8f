"""register_model, retire_model."""
