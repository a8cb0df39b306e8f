"""The console's shell: base templates, sign-in, home, playground page. Apps above add to it by registration."""
