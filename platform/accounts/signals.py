"""What happens to accounts, for the layers above to hear: the audit trail stands above this app."""

from __future__ import annotations

from django.dispatch import Signal

# Sent inside the transaction of the change, so that a receiver's rows commit with it. Arguments: `sender`
# the User class, `user`, `actor` (core.actors.Actor), `action` ("accounts.user.created", …), `reason`,
# `before`, `after`.
account_changed = Signal()
