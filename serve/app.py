"""Import path of the application for Ray Serve's configuration files.

serve deploy serve/config/local.yaml      # from the repository's root
"""

from polyglossa.serving.application import build

__all__ = ["build"]
