"""The command line: arguments to jobs, events to lines."""
