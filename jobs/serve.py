"""Serve model directories until Ctrl-C.

python jobs/serve.py --model small=runs/…/model [--model …] [--port 8000]
"""

import argparse
import signal
import sys
from pathlib import Path

# This folder holds a module of the application's name; the application is imported from the repository's root.
sys.path[0] = str(Path(__file__).resolve().parents[1])


def main(argv: list[str] | None = None) -> int:
    """Start the endpoint and wait."""
    from polyglossa.errors import UserError
    from polyglossa.pipelines.session import ray_session
    from polyglossa.recipe import Profile
    from serve.running import running

    options = _options(argv)
    try:
        members = [_member(text, options.dtype) for text in options.model]
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    with ray_session(Profile()), running({"members": members}, host=options.host, port=options.port) as url:
        print(f"{url}/v1 answers for {', '.join(str(member['name']) for member in members)}. Ctrl-C stops it.")
        _wait()
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=PATH", help="a model directory")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback only)")
    parser.add_argument("--port", type=int, default=8000)
    return parser.parse_args(argv)


def _member(text: str, dtype: str) -> dict[str, object]:
    from polyglossa.errors import UserError

    name, _, path = text.partition("=")
    if not (Path(path) / "config.json").is_file():
        raise UserError(f"--model {text}: write NAME=PATH, where PATH is a model directory (it holds config.json).")
    return {"name": name, "path": str(Path(path).resolve()), "dtype": dtype}


def _wait() -> None:
    with_signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, with_signals)
    signal.sigwait(with_signals)


if __name__ == "__main__":
    sys.exit(main())
