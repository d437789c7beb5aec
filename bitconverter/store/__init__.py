"""What the program remembers between runs: chats, in SQLite. Knows neither Qt nor models."""
