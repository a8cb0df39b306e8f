"""What proves a trail: links, checkpoints and their verification. Nothing here knows Django or the database."""
