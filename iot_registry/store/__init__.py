"""The registry's database: SQLite by default, PostgreSQL by URL."""
