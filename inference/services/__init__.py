"""What runs beside the requests: placing replicas, taking usage records to PostgreSQL, clearing up after crashes."""
