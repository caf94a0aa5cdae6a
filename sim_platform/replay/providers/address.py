"""Where a version's requests go.

Belongs here: host and path of an endpoint. Does not: keys, sending (openai).
"""

from urllib.parse import urlsplit

from sim_platform.contracts.errors import BadInputError
from sim_platform.registry.models import ModelVersion


def host_of(model: ModelVersion) -> str:
    """Host of `base_url`, safe to show; BadInputError when there is none."""
    parts = urlsplit(model.base_url or "")
    host = parts.netloc.rpartition("@")[2]  # never a user name or password
    if parts.scheme not in ("http", "https") or not host:
        raise BadInputError(
            f"models.yaml: {model.version}: base_url must start with http:// or https:// and name a"
            " host"
        )
    return host


def url_of(model: ModelVersion, path: str) -> str:
    """`base_url` with the endpoint's path before its query (`?api-version=…` of some hosts). The
    key authenticates: a user in the URL does not.
    """
    parts = urlsplit(model.base_url or "")
    return parts._replace(netloc=host_of(model), path=f"{parts.path.rstrip('/')}{path}").geturl()
