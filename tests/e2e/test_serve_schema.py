"""Requests made up from the published OpenAPI document, sound and unsound ones: none gets a status of 500 or more.

200 cases, or NARTHEX_CASES of them (`make fuzz` has 5,000), spread over all operations; the same ones each time.
"""

from __future__ import annotations

import os
import threading

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode

from narthex.backends.fake import Said, ScriptedBackend
from narthex.serve import Service, listen
from narthex.serve.server import address_of, make_server
from narthex.store import Store

NUM_CASES = int(os.environ.get("NARTHEX_CASES", "200"))
ENOUGH = 8  # operations may be left out by chance; fewer seen than this and something is wrong


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(URL, key) of a server whose model says a word."""
    store = Store.open(tmp_path_factory.mktemp("home"))
    key = store.people.add_key(store.people.add_user("ada", "admin").id).key
    service = Service({"scripted": ScriptedBackend(lambda request: Said(thought="Well.", text="12"))}, store=store)
    is_ready = threading.Event()
    with listen("127.0.0.1", 0) as taken:
        server = make_server(service, on_ready=is_ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            assert is_ready.wait(30)
            yield address_of(taken), key
        finally:
            server.should_exit = True
            thread.join(30)


def test_no_request_makes_the_server_fail(server):
    url, key = server
    headers = {"authorization": f"Bearer {key}"}
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=headers)
    operations = [found.ok() for found in schema.get_all_operations()]
    strategies = [operation.as_strategy(generation_mode=mode) for operation in operations for mode in GenerationMode]
    seen, statuses = set(), set()

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=NUM_CASES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=hypothesis.strategies.one_of(strategies))
    def check(case):
        reply = case.call(base_url=url, headers=headers, timeout=60)
        seen.add((case.method, case.path))
        statuses.add(reply.status_code)
        assert reply.status_code < 500, (case.method, case.path, reply.status_code, reply.text[:500])
        if reply.status_code >= 400:
            assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        assert reply.headers["x-request-id"]

    check()
    assert len(seen) >= min(ENOUGH, len(operations)) and min(statuses) < 300 and max(statuses) >= 400
