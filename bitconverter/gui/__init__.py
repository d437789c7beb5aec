"""The window. The only part that knows Qt; it starts jobs and shows their events."""
