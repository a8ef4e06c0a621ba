"""The `polyglossa` command, one file a command."""
