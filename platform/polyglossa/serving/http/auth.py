"""API keys: who may ask, which members, and how often. Only hashes are stored.

The file is JSON: `[{"name": "search", "sha256": "…", "members": ["small"], "requests_per_minute": 600}]`. `members` and
`requests_per_minute` may be left out. It is read again when it changes, so removing an entry revokes the key. Make an
entry with `python -m polyglossa.serving.http.auth NAME`, which prints the key once. Rates hold per ingress replica.
"""

import hashlib
import hmac
import json
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from polyglossa.errors import UserError
from polyglossa.recipe.strict import Strict
from polyglossa.serving.errors import ApiError

_LOOK_AGAIN_SECONDS = 1.0


class Key(Strict):
    """One entry of the file."""

    name: str = Field(min_length=1)
    """Told in the access log."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of the key; keys are random, so a plain hash cannot be reversed."""
    members: tuple[str, ...] | None = None
    """Members the key opens; None is all."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Steady rate; bursts of up to ten seconds' worth pass."""


class Keyring:
    """The keys of a file, and how much of its rate each has left."""

    def __init__(self, path: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            UserError: it is missing or not valid.
        """
        self._path = Path(path) if path else None
        self._clock = clock
        self._looked = self._stamp = -1.0
        self._keys: list[Key] = []
        self._left: dict[str, tuple[float, float]] = {}
        if self._path:
            self._keys, self._stamp = read_keys(self._path), self._path.stat().st_mtime_ns

    def admit(self, authorization: str | None) -> Key | None:
        """Find the key of an `Authorization` header and count the request; None where no keys are asked for.

        Raises:
            Problem: 401 no or unknown key, 429 above its rate.
        """
        if self._path is None:
            return None
        self._look_again()
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not presented:
            raise ApiError(401, "missing_api_key", "Send your key as `Authorization: Bearer …`.")
        digest = hashlib.sha256(presented.strip().encode()).hexdigest()
        # Every entry is compared, each in constant time: how long it takes tells nothing about the keys.
        found = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        if not found:
            raise ApiError(401, "invalid_api_key", "This key is not known here.")
        self._count(found[0])
        return found[0]

    def _count(self, key: Key) -> None:
        if key.requests_per_minute is None:
            return
        rate = key.requests_per_minute / 60
        most = max(rate * 10, 1.0)
        left, then = self._left.get(key.sha256, (most, self._clock()))
        now = self._clock()
        left = min(most, left + (now - then) * rate)
        if left < 1:
            self._left[key.sha256] = (left, now)
            wait = (1 - left) / rate
            raise ApiError(429, "rate_limit_exceeded", f"This key may ask {rate:.3g} times a second.", retry_after=wait)
        self._left[key.sha256] = (left - 1, now)

    def _look_again(self) -> None:
        if self._path is None or self._clock() - self._looked < _LOOK_AGAIN_SECONDS:
            return
        self._looked = self._clock()
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._keys, self._stamp = read_keys(self._path), stamp
        except (OSError, UserError):
            self._keys, self._stamp = [], -1.0  # a broken file opens nothing


def check_member(key: Key | None, member: str) -> None:
    """Refuse a member that a key does not open.

    Raises:
        Problem: 403.
    """
    if key is not None and key.members is not None and member not in key.members:
        raise ApiError(403, "model_not_allowed", "This key does not open that model.", param="model")


def read_keys(path: Path) -> list[Key]:
    """Read a file of keys.

    Raises:
        UserError: it is missing or not valid; the message holds nothing of its content.
    """
    try:
        return TypeAdapter(list[Key]).validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"keys_file: {path} cannot be read ({error.strerror}).") from None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"keys_file: {path} is not a list of keys (at {where or 'the top'}).") from None


def main() -> None:
    """Make a key and print it with its entry for the file."""
    key = f"pg-{secrets.token_urlsafe(32)}"
    entry = {"name": sys.argv[1] if len(sys.argv) > 1 else "key", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    print(f"key (shown once): {key}\nentry: {json.dumps(entry)}")


if __name__ == "__main__":
    main()
