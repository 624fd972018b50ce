"""S3 by boto3 and Temporal's own driver, against moto's server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.payloads.options import PayloadOptions
from kubiya_worker.payloads.storage import storage_of
from tests.support.bucket import NAME, bucket

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with bucket() as (environment, client):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield client


async def test_what_is_stored_in_a_bucket_comes_back(client: Any) -> None:
    storage = storage_of(PayloadOptions(storage=f"s3://{NAME}"))
    assert storage is not None
    [driver] = storage.drivers
    payload = Payload(metadata={"encoding": b"json/plain"}, data=uuid.uuid4().bytes * 20_000)

    def keys() -> set[str]:
        return {str(each["Key"]) for each in client.list_objects_v2(Bucket=NAME).get("Contents", ())}

    before = keys()  # the server of this process keeps what other tests have stored
    for _ in range(2):
        [claim] = await driver.store(StorageDriverStoreContext(), [payload])
        assert await driver.retrieve(StorageDriverRetrieveContext(), [claim]) == [payload]
    assert len(keys() - before) == 1


async def test_a_bucket_that_is_away_costs_no_result(client: Any) -> None:
    storage = storage_of(PayloadOptions(storage="s3://no-such-bucket"))
    assert storage is not None
    [driver] = storage.drivers
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"x" * 300_000)
    [claim] = await driver.store(StorageDriverStoreContext(), [payload])
    assert await driver.retrieve(StorageDriverRetrieveContext(), [claim]) == [payload]


def test_s3_without_a_region_is_refused_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises(ConfigurationError, match="S3 cannot be used"):
        storage_of(PayloadOptions(storage="s3://payloads"))
