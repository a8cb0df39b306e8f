"""Stands in for `manage.py prepare`: writes a row as the owner, and what a person would get."""

import json
import os
import sys
from pathlib import Path

import psycopg

with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz DEFAULT now())")
    connection.execute("INSERT INTO starts DEFAULT VALUES")

if os.environ.get("STANDIN_PREPARE") == "fails":
    print("a migration is missing")
    sys.exit(1)

user = {"email": "owner@acme.example", "password": "pw", "role": "owner"}
prepared = {
    "tenants": [{"slug": "acme", "api_key": "the-key", "users": [user]}],
    "models": [{"name": "talker", "task": "chat"}, {"name": "embedder", "task": "embedding"}],
}
Path(sys.argv[sys.argv.index("--output") + 1]).write_text(json.dumps(prepared))
