"""Writes of this app: `rules`, `word_lists`, `versions`, `tenant_settings`, `reviews`, `hits`, `incidents`, `builtin`;
and `bench`, which tries rules and writes nothing."""
