"""S3 by boto3 and Temporal's own driver, against moto's server; skipped where they are not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.payloads.converter import Options
from kubiya_worker.payloads.storage import storage_of

boto3 = pytest.importorskip("boto3")
server = pytest.importorskip("moto.server")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    running = server.ThreadedMotoServer(port=0)
    running.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*running.get_host_and_port()))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="payloads")
    yield "payloads"
    running.stop()


async def test_what_is_stored_in_a_bucket_comes_back(bucket: str) -> None:
    storage = storage_of(Options(storage=f"s3://{bucket}"))
    assert storage is not None
    [driver] = storage.drivers
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"x" * 300_000)
    for _ in range(2):
        [claim] = await driver.store(StorageDriverStoreContext(), [payload])
        assert await driver.retrieve(StorageDriverRetrieveContext(), [claim]) == [payload]
    assert boto3.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_s3_without_a_region_is_refused_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises(ConfigurationError, match="S3 cannot be used"):
        storage_of(Options(storage="s3://payloads"))
