"""Ask a dashboard without a token: whoever is let in may run code on every node."""

import urllib.error
import urllib.request

from polyglossa.cluster.check.judge import Finding


def ask_without_token(dashboard: str) -> list[Finding]:
    """Ask the dashboard at `host:port` for its jobs."""
    if not dashboard:
        return [Finding("token", "dashboard", True, "there is no dashboard to ask")]
    try:
        with urllib.request.urlopen(f"http://{dashboard}/api/jobs/", timeout=30):
            pass
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return [Finding("token", "dashboard", True, f"refuses who brings none ({error.code})")]
    except OSError as error:
        return [
            Finding("token", "dashboard", False, f"http://{dashboard}: {error}", "look into the head's dashboard.log")
        ]
    to_do = "set RAY_AUTH_MODE=token on every node (rendered manifests do): whoever reaches the port runs code"
    return [Finding("token", "dashboard", False, "answers without a token", to_do)]
