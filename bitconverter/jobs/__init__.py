"""Long work, written once; the window, the command line and the tests all run it here."""
