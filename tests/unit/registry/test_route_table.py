"""Routes: against a naive matcher, and case by case."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uhlp.errors import BadInput, MethodNotAllowed, RouteNotFound
from uhlp.registry.route_table import Route, RouteConflict, RouteTable

SEGMENTS = ["a", "b", ":x", ":y"]
patterns = st.builds(
    lambda parts, rest: "/" + "/".join([*parts, *rest]),
    st.lists(st.sampled_from(SEGMENTS), max_size=4, unique_by=lambda s: s if s[0] == ":" else object()),
    st.sampled_from([[], ["*rest"]]),
)
methods = st.sets(st.sampled_from(["GET", "POST", "PUT"]), min_size=1).map(sorted).map(tuple)
paths = st.lists(st.sampled_from(["a", "b", "c"]), max_size=5).map(lambda parts: "/" + "/".join(parts))


def fits(pattern: str, path: str) -> tuple[tuple[int, ...], dict[str, str]] | None:
    """How specific the fit is (0 static, 1 parameter, 2 rest; per segment) and the parameters."""
    wanted, given_ = [[s for s in text.split("/") if s] for text in (pattern, path)]
    rank, values = [], {}
    for index, segment in enumerate(wanted):
        if segment[0] == "*":
            if index >= len(given_):
                return None
            return (*rank, 2), values | {segment[1:]: "/".join(given_[index:])}
        if index >= len(given_):
            return None
        if segment[0] == ":":
            values[segment[1:]] = given_[index]
        elif segment != given_[index]:
            return None
        rank.append(int(segment[0] == ":"))
    return (tuple(rank), values) if len(wanted) == len(given_) else None


@given(st.lists(st.tuples(patterns, methods), max_size=12), paths)
def test_the_trie_finds_what_trying_every_pattern_finds(candidates, path):
    table, routes = RouteTable(), []
    for number, (pattern, allowed) in enumerate(candidates):
        try:
            table.add(Route(f"c{number}", pattern, allowed))
        except RouteConflict:
            continue
        routes.append((f"c{number}", pattern, allowed))
    fitting = [(fits(pattern, path), name, allowed) for name, pattern, allowed in routes]
    found = sorted((fit[0], name, fit[1]) for fit, name, allowed in fitting if fit and "GET" in allowed)
    if found:
        match = table.match("GET", path)
        assert (match.component_id, match.path_params) == (found[0][1], found[0][2])
        return
    allow = set(itertools.chain.from_iterable(allowed for fit, _, allowed in fitting if fit))
    with pytest.raises(MethodNotAllowed if allow else RouteNotFound) as caught:
        table.match("GET", path)
    assert set(caught.value.details.get("allow", ())) == allow


def table(*routes: str) -> RouteTable:
    return RouteTable(Route(pattern, pattern, tuple(names.split(","))) for names, pattern in map(str.split, routes))


def test_static_goes_before_parameter_and_parameter_before_rest():
    routes = table("GET /u/:id", "GET /u/me", "GET /u/*rest")
    assert routes.match("GET", "/u/me").component_id == "/u/me"
    assert routes.match("GET", "/u/7").path_params == {"id": "7"}
    assert routes.match("GET", "/u/7/x").path_params == {"rest": "7/x"}


def test_a_dead_end_on_the_static_way_goes_back_to_the_parameter():
    routes = table("GET /a/b", "GET /:x/c")
    assert routes.match("GET", "/a/c").path_params == {"x": "a"}


def test_another_method_may_live_on_the_less_specific_pattern():
    routes = table("POST /u/me", "GET /u/:id")
    assert routes.match("GET", "/u/me").path_params == {"id": "me"}
    with pytest.raises(MethodNotAllowed) as caught:
        routes.match("PUT", "/u/me")
    assert caught.value.details == {"allow": ["GET", "POST"]}


@pytest.mark.parametrize("path", ["/a", "/a/"])
@pytest.mark.parametrize("pattern", ["/a", "/a/"])
def test_one_slash_at_the_end_does_not_count(pattern, path):
    assert table(f"GET {pattern}").match("GET", path).component_id == pattern


@pytest.mark.parametrize("path", ["/a//", "//a", "/a/b", "/A"])
def test_paths_that_only_look_alike_are_not_found(path):
    with pytest.raises(RouteNotFound):
        table("GET /a", "GET /").match("GET", path)


def test_the_root_is_a_route_and_an_empty_segment_is_no_parameter():
    routes = table("GET /", "GET /x/:id")
    assert routes.match("GET", "/").component_id == "/"
    with pytest.raises(RouteNotFound):
        routes.match("GET", "/x//")


def test_segments_are_percent_decoded_once():
    routes = table("GET /f/:name", "GET /caf\u00e9")
    assert routes.match("GET", "/f/a%2Fb").path_params == {"name": "a/b"}
    assert routes.match("GET", "/f/100%2525").path_params == {"name": "100%25"}
    assert routes.match("GET", "/caf%C3%A9").component_id == "/caf\u00e9"
    with pytest.raises(BadInput):
        routes.match("GET", "/f/%ff")


@pytest.mark.parametrize(
    "second", ["GET /a/:y", "POST,GET /a/:x", "GET /a/:x/"], ids=["other name", "one method too many", "slash"]
)
def test_ambiguous_routes_are_refused(second):
    with pytest.raises(RouteConflict, match="/a/:x"):
        table("GET /a/:x", second)


@pytest.mark.parametrize("pattern", ["/*rest/a", "/:", "/:a-b", "/a//b", "/:x/:x", "/*", "/a" * 65])
def test_patterns_that_cannot_be_read_are_refused(pattern):
    with pytest.raises(RouteConflict):
        table(f"GET {pattern}")
