"""What a scrape accepts (RFC 9110 §12.5): OpenMetrics or plain text, compressed or not."""

from collections.abc import Iterator, Mapping

from uhlp.metrics import Form

_OPENMETRICS = "application/openmetrics-text"
_OPENMETRICS_VERSIONS = ("", "1.0.0")


def form_of(headers: Mapping[bytes, bytes]) -> Form:
    """OpenMetrics where it is wanted by name and no less than text; gzip where it is wanted no less than nothing.

    Who accepts neither format gets text: a scrape that cannot be read says more than none.
    """
    openmetrics, text = 0.0, {"text/plain": 0.0, "text/*": 0.0, "*/*": 0.0}
    for media, parameters, weight in _ranges(headers.get(b"accept", b"")):
        if media == _OPENMETRICS and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, weight)
        elif media in text:
            text[media] = max(text[media], weight)
    encodings = {name: weight for name, _, weight in _ranges(headers.get(b"accept-encoding", b""))}
    gzip = encodings.get("gzip", encodings.get("*", 0.0))
    return Form(
        is_openmetrics=openmetrics > 0 and openmetrics >= next(filter(None, text.values()), 0.0),
        is_gzipped=gzip > 0 and gzip >= encodings.get("identity", 0.0),
    )


def _ranges(header: bytes) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, parameters, weight) of each member; one whose weight is no number from 0 to 1 is left out."""
    for member in header.decode("latin-1").split(","):
        name, *rest = (part.strip() for part in member.split(";"))
        parameters = {
            key.strip().lower(): value.strip(' "') for key, _, value in (part.partition("=") for part in rest)
        }
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            continue
        if name and 0 <= weight <= 1:
            yield name.lower(), parameters, weight
