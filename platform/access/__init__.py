"""Who may do what: API keys, and the table of roles and permissions. Layers above accounts and audit may
import it."""
