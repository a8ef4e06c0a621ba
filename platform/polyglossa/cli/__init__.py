"""The `polyglossa` command: a file a command, in rooms by what they are about."""
