"""Attacks on the platform as somebody would make them, each with a control that shows that it could have worked."""
