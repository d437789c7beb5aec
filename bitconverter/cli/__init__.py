"""The command line: arguments to jobs, events to lines."""

DONE, FAILED, WRONG_USE, STOPPED = 0, 1, 2, 130  # exit statuses
