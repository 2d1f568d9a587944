"""The command line: parses, calls one library function, prints. One file per command."""
