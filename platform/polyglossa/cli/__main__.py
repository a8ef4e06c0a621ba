"""Start the `polyglossa` command: errors made on purpose, a missing extra among them, are one line."""

from polyglossa.cli.command import errors_in_one_line


def main() -> None:
    """Run the command line."""
    with errors_in_one_line("polyglossa"):
        from polyglossa.cli.app import app

        app()


if __name__ == "__main__":
    main()
