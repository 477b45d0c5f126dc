"""The hub as a source: one file over HTTP, and after a break only what is missing."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import httpx

from aios.errors import DownloadFailed
from aios.models.catalogue import CatalogueModel, Progress

URL = "https://huggingface.co"
# Many machines reach no hub at all: they must get to the next source soon.
TIMEOUT = httpx.Timeout(30.0, connect=3.0)


def fetch(model: CatalogueModel, partial: Path, progress: Progress, *, url: str = URL) -> None:
    """Bring `partial` to the size of `model`, from where it ends now.

    A connection that breaks is taken up again for as long as each try brings something. Raises DownloadFailed;
    what has come stays in `partial`, for the next time."""
    if model.hub is None:
        raise DownloadFailed("the hub does not have it")
    repository, file = model.hub
    have = partial.stat().st_size if partial.exists() else 0
    try:
        # The environment may name a SOCKS proxy (needs one package more) or certificates that are not there.
        client = httpx.Client(follow_redirects=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"})
    except (ImportError, OSError) as error:
        raise DownloadFailed(f"the hub can't be asked: {error}") from error
    with client:
        while have < model.size:
            before, why = have, "cut the answer short"
            try:
                _get(client, f"{url}/{repository}/resolve/main/{file}", partial, have, model.size, progress)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                why = _why(error)
            have = partial.stat().st_size if partial.exists() else 0
            if have <= before:
                raise DownloadFailed(f"the hub {why} (at {have} of {model.size} bytes)")


def _get(client: httpx.Client, url: str, partial: Path, have: int, size: int, progress: Progress) -> None:
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # this server sends all of it again
        with partial.open("ab" if have else "wb") as out:
            for chunk in response.iter_raw():
                have += len(chunk)
                if have > size:
                    partial.unlink()
                    raise DownloadFailed(f"the hub sends more than the {size} bytes of the model")
                out.write(chunk)
                progress(have, size)


def _why(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    match error:
        case httpx.HTTPStatusError():
            return f"answered {error.response.status_code}"
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return "can't be reached"
        case _:
            return f"failed: {error or type(error).__name__}"
