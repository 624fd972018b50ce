"""docs/protocol.md names each route of the local control plane, the published ones and those of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from kubiya_worker.server.access import NEEDS, OPEN
from tests.support.published_plane import ENTRIES

PAGE: Final = (Path(__file__).parents[3] / "docs/protocol.md").read_text()
SECTION: Final = PAGE.split('<a id="a12"></a>')[1].split("\n## ")[0]
ROW: Final = re.compile(r"^\| (GET|POST|PUT|PATCH|DELETE) `([^`]+)` \|", re.M)
# Routes of the published control plane that its double does not serve, with the words of the page that name them.
PUBLISHED: Final = {
    "GET /workers": "GET `` / `/{runner}`",
    "GET /workers/{}/health": "`/workers/{queue}/health`",
    "GET /runtimes": "Runtimes: GET `/runtimes`",
    "GET /models/{}": "`/models/{id:path}`",
    "GET /models/default": "`/models/default`",
    "POST /environments": "Environments: POST/GET `/environments`",
    "GET /environments/{}": "GET/PATCH/DELETE `/{id}`: `{name, display_name?",
    "PATCH /environments/{}": "GET/PATCH/DELETE `/{id}`: `{name, display_name?",
    "DELETE /environments/{}": "GET/PATCH/DELETE `/{id}`: `{name, display_name?",
    "PATCH /jobs/{}": "Jobs `/jobs`: CRUD",
    "POST /jobs/{}/enable": "`/{id}/enable|disable`",
    "POST /jobs/{}/disable": "`/{id}/enable|disable`",
    "GET /worker-queues/{}/install-script": "install-script",
    "GET /worker-queues/{}/worker-command": "worker-command",
}


def plain(route: str) -> str:
    """Return a route without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", route)


def test_the_list_of_own_routes_has_all_of_them_and_no_other() -> None:
    routes = {plain(route) for route in NEEDS} | {"GET /session/providers"}
    published = {plain(f"{entry.method} {entry.path}") for entry in ENTRIES} | set(PUBLISHED)
    listed = [plain(f"{method} {path}") for method, path in ROW.findall(SECTION)]
    assert len(set(listed)) == len(listed)
    assert set(listed) == routes - published


def test_the_words_for_routes_of_the_published_one_stand_on_the_page() -> None:
    assert [words for words in PUBLISHED.values() if words not in PAGE] == []
    assert set(PUBLISHED) <= {plain(route) for route in NEEDS}


def test_paths_without_a_key_stand_on_the_page() -> None:
    own = [path for path in OPEN if not path.startswith(("/api/v1/", "/health", "/api/"))]
    assert own and [path for path in own if f"`{path}`" not in SECTION] == []
