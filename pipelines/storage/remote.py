"""The file systems behind URIs: opened so that nothing hangs, their errors put in words."""

import os
import re
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.fs

from pipelines.errors import UserError

_S3_OPTIONS = ("endpoint_override", "region", "scheme", "tls_ca_file_path")
_CONNECT_SECONDS, _SILENCE_SECONDS = 5, 15  # each of three tries, by the SDK's default
_NETWORK = r"NETWORK_CONNECTION|[Cc]ould not (connect|resolve)"
_DENIED = (
    r"ACCESS_DENIED|INVALID_|SIGNATURE|EXPIRED|CLIENT_TOKEN|[Pp]ermission"
    r"|(HTTP|status)\D*40[013]"
)
_REMEDIES = {
    r"NO_SUCH_BUCKET|[Bb]ucket.*(not exist|not found)": "make the bucket, or correct the URI",
    r"OAuth2": "give the account of Google Cloud by GOOGLE_APPLICATION_CREDENTIALS or the machine",
    _NETWORK: "see that the network reaches it, and that AWS_ENDPOINT_URL or endpoint_override "
    "name the server, if it is not AWS",
    _DENIED: "give keys that may list, read and write the bucket, by AWS_PROFILE, "
    "AWS_ACCESS_KEY_ID or the machine's role (GOOGLE_APPLICATION_CREDENTIALS for gs://)",
}


class StorageError(UserError, OSError):
    """A place that cannot be written or read; the message says what to do."""


def file_system(scheme: str, uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path in it that begins with the bucket.

    Raises:
        StorageError: for a URI that cannot work.
    """
    base, _, query = uri.partition("?")
    path = base.partition("://")[2].strip("/")
    bucket = path.partition("/")[0]
    if "@" in bucket or not bucket:
        what = "a key or password does not belong in it" if bucket else "it names no bucket"
        raise StorageError(
            f"a URI of {scheme}://: {what}. Write {scheme}://bucket/folder, and give keys as "
            "AWS_PROFILE or AWS_ACCESS_KEY_ID (GOOGLE_APPLICATION_CREDENTIALS) in the environment"
        )
    options = dict(parse_qsl(query))
    try:
        if scheme == "s3":
            return _s3(bucket, options), path
        if scheme in ("gs", "gcs"):
            options.setdefault("retry_limit_seconds", "20")  # else a quarter of an hour
            text = "&".join(f"{name}={value}" for name, value in options.items())
            return pa.fs.FileSystem.from_uri(f"gs://{bucket}?{text}")[0], path
    except StorageError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StorageError(f"{base}: {explained(error)}") from error
    raise StorageError(f"{base}: no place for files that is known; write s3://, gs:// or a path")


def _s3(bucket: str, options: dict[str, str]) -> Any:
    if unknown := sorted(options.keys() - set(_S3_OPTIONS)):
        known = ", ".join(_S3_OPTIONS)
        raise StorageError(f"s3://{bucket}: unknown {', '.join(unknown)} in its URI; {known} are")
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # pyarrow reads them in URIs alone
    endpoint = next((os.environ[name] for name in variables if os.environ.get(name)), "")
    options = {"endpoint_override": endpoint, **options}
    if not options["endpoint_override"] and "region" not in options:
        options["region"] = pa.fs.resolve_s3_region(bucket)
    return pa.fs.S3FileSystem(
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_SILENCE_SECONDS,
        **{name: value for name, value in options.items() if value},
    )


def explained(error: Exception) -> str:
    """What a service said, and what that asks for."""
    said = re.sub(r"://[^/@\s]*@", "://***@", " ".join(str(error).split()))
    for pattern, remedy in _REMEDIES.items():
        if re.search(pattern, said):
            return f"{remedy} ({said[:300]})"
    return said[:300]


def is_final(error: Exception) -> bool:
    """Whether asking again is of no use: the service understood, and refused."""
    return bool(re.search(rf"NO_SUCH_BUCKET|{_DENIED}", str(error)))
