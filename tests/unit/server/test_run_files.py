"""Workers store the files of runs, people list and download them, and they go with their execution or their days."""

from __future__ import annotations

import base64
import hashlib
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kubiya_worker.server.store import run_files
from kubiya_worker.server.store.address import PostgresAddress
from tests.support.api import Api

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
STRANGE = ("a\nb.txt", "ü/ä b.md", 'q"; x=y', "%2e%2e/x", "back\\slash", "<script>.html", "-rf")
WRONG = ("", ".", "..", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\0b", "x" * 1025)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path) as running:
        yield running


def put(api: Api, execution: str, path: str, data: bytes = b"text", **options: Any) -> Any:
    body = {"path": path, "content": base64.b64encode(data).decode()}
    return api.call("POST", f"/executions/{execution}/files", body, **options)


def address(execution: str, path: str) -> str:
    return f"/executions/{execution}/files/{quote(path, safe='')}"


def test_files_are_listed_and_downloaded_as_they_were(api: Api, tmp_path: Path) -> None:
    one, other = api.execute(), api.execute()
    binary = bytes(range(256))
    put(api, one, "report.bin", binary)
    put(api, other, "report.bin", b"of the other")
    for path in STRANGE:
        put(api, one, path, path.encode())
    listed = {each["path"]: each for each in api.call("GET", f"/executions/{one}/files")}
    assert set(listed) == {"report.bin", *STRANGE}
    assert listed["report.bin"]["size"] == 256 and listed["report.bin"]["sha256"] == hashlib.sha256(binary).hexdigest()
    for path in STRANGE:
        got = api.ask("GET", address(one, path))
        assert got.status_code == 200 and got.content == path.encode(), path
        assert "\n" not in got.headers["content-disposition"] and '"' not in got.headers["content-disposition"]
    assert api.ask("GET", address(one, "report.bin")).content == binary
    assert api.ask("GET", address(other, "report.bin")).content == b"of the other"
    kept = list((tmp_path / run_files.FOLDER).rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / run_files.FOLDER, *kept] if path.is_dir()} == {
        0o700
    }
    assert not [path for path in kept if path.name in ("report.bin", "x", "passwd")], "no name of a run is a path here"


@pytest.mark.parametrize("path", WRONG)
def test_a_path_that_leads_elsewhere_is_refused_by_name(api: Api, path: str) -> None:
    told = put(api, api.execute(), path, status=422)["detail"]
    assert told[0]["loc"] == ["body", "path"], told


def test_no_path_of_a_request_leads_out_of_the_store(api: Api, tmp_path: Path) -> None:
    execution = api.execute()
    put(api, execution, "a")
    for path in ("../../cp.db", "..%2f..%2fcp.db", "%2e%2e/%2e%2e/cp.db", "/etc/passwd", "a/../../../cp.db", "a%00"):
        got = api.raw("GET", f"/api/v1/executions/{execution}/files/{path}", headers=api.key("admin")["headers"])
        nul_in_postgresql = "%00" in path and api.plane.database.shared  # which says that it cannot store such a name
        assert got.status_code == (422 if nul_in_postgresql else 404), (path, got.text)
        assert b"SQLite" not in got.content


def test_only_real_images_are_shown_and_nothing_runs_in_a_browser(api: Api) -> None:
    execution = api.execute()
    images = {
        "chart.png": (PNG, "image/png"),
        "x": (b"\xff\xd8\xff\xe0", "image/jpeg"),
        "y.gif": (b"GIF89a..", "image/gif"),
        "z.webp": (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    }
    others = {
        "page.html": b"<script>1</script>",
        "fake.png": b"<svg onload=alert(1)>",
        "v.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for path, data in [*((path, each[0]) for path, each in images.items()), *others.items()]:
        put(api, execution, path, data)
        got = api.ask("GET", address(execution, path))
        shown = path in images
        assert got.headers["content-type"] == (images[path][1] if shown else "application/octet-stream"), path
        assert got.headers["content-disposition"].startswith("inline" if shown else "attachment"), path
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_a_file_that_is_not_stored_says_why(api: Api) -> None:
    execution = api.execute()
    put(api, execution, "env", b"harmless")
    body = {"path": "env", "size": 12, "refused": "a secret is in it"}
    made = api.call("POST", f"/executions/{execution}/files", body)
    assert (made["refused"], made["size"], made["sha256"]) == ("a secret is in it", 12, "")
    gone = api.ask("GET", address(execution, "env"))
    assert gone.status_code == 410 and "a secret is in it" in gone.text and "harmless" not in gone.text
    assert not list(api.plane.run_files._of(execution).iterdir()), "what was there before is gone"
    for wrong, field in (({"path": "x"}, "content"), ({"path": "x", "content": "%%"}, "content")):
        told = api.call("POST", f"/executions/{execution}/files", wrong, status=422)["detail"]
        assert told[0]["loc"] == ["body", field]


def test_the_same_content_twice_is_kept_until_nobody_needs_it(api: Api) -> None:
    execution = api.execute()
    for path in ("a", "b"):
        put(api, execution, path, b"same")
    put(api, execution, "a", b"changed")
    assert api.ask("GET", address(execution, "b")).content == b"same"
    put(api, execution, "b", b"changed")
    assert len(list(api.plane.run_files._of(execution).iterdir())) == 1


def test_an_execution_has_at_most_so_many_files_and_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "MOST", 2)
    monkeypatch.setattr(run_files, "MOST_BYTES", 10)
    execution = api.execute()
    put(api, execution, "a", b"12345")
    put(api, execution, "b", b"12345678", status=413)
    put(api, execution, "b", b"1234")
    put(api, execution, "c", b"", status=413)
    put(api, execution, "a", b"123456")
    assert [each["size"] for each in api.call("GET", f"/executions/{execution}/files")] == [6, 4]


def test_files_go_with_their_execution(api: Api, tmp_path: Path) -> None:
    execution = api.execute()
    put(api, execution, "a")
    api.call("PATCH", f"/executions/{execution}", {"status": "completed"})
    api.call("DELETE", f"/executions/{execution}")
    assert api.ask("GET", address(execution, "a")).status_code == 404
    assert not list((tmp_path / run_files.FOLDER).iterdir())


def test_files_are_kept_for_so_many_days_and_what_no_row_names_goes(api: Api) -> None:
    files, execution = api.plane.run_files, api.execute()
    put(api, execution, "a")
    stranger = files._folder / "nobody"
    stranger.mkdir()
    at = time.time()
    assert files.sweep(at) == 0 and stranger.exists(), "without --keep-files nothing is too old"
    files.keep_days = 2
    assert files.sweep(at + 86_400) == 0 and not stranger.exists()
    assert len(files.list(execution)) == 1
    assert files.sweep(at + 3 * 86_400) == 1
    assert files.list(execution) == [] and not list(files._folder.rglob("*/*"))


def test_workers_store_and_only_people_download(api: Api) -> None:
    execution = api.execute()
    worker, viewer = api.key("worker")["headers"], api.key("viewer", "Bo")["headers"]
    put(api, execution, "a", headers=worker)
    put(api, execution, "b", status=403, headers=viewer)
    assert api.ask("GET", address(execution, "a"), headers=viewer).status_code == 200
    assert api.ask("GET", address(execution, "a"), headers=worker).status_code == 403
    assert api.ask("GET", address(execution, "a"), key=False).status_code == 401
    assert api.ask("GET", address("nothing", "a")).status_code == 404


def test_without_a_folder_nothing_is_kept_and_workers_are_not_asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = api.call("GET", "/worker-queues/default")["id"]
    execution = api.execute()
    assert "run_files" in api.call("POST", f"/worker-queues/{queue}/start", {})["features"]
    address = PostgresAddress.__new__(PostgresAddress)
    monkeypatch.setattr(api.plane, "run_files", run_files.RunFiles(api.plane.database, address))
    assert "run_files" not in api.call("POST", f"/worker-queues/{queue}/start", {})["features"]
    assert "--files DIR" in put(api, execution, "a", status=409)["detail"]
    assert api.call("GET", f"/executions/{execution}/files") == []
    api.plane.run_files.sweep(time.time())
