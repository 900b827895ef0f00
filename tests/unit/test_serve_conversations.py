"""`/api/conversations` and what hangs on it: asked in this process, kept in a store of the test's own."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from narthex.backends.fake import Said, ScriptedBackend
from narthex.serve.live import Live, follow
from narthex.serve.settings import RoleSettings, ServeSettings
from narthex.store import Store

from .serve_helpers import data_uri, served

SAID = Said("12 bar", thought="hm ")
DEADLINE_S = 20


async def begun(client, home=None, **body):
    """(conversation, turn and run) of a question that has been asked."""
    if home is None:
        home = (await client.post("/api/conversations")).json()["id"]
    reply = await client.post(f"/api/conversations/{home}/turns", json={"text": "What?", **body})
    assert reply.status_code == 201, reply.text
    return home, reply.json()


async def ended(client, run_id):
    """The run, once it has."""
    async with asyncio.timeout(DEADLINE_S):
        while (run := (await client.get(f"/api/runs/{run_id}")).json())["status"] == "running":
            await asyncio.sleep(0.01)
    return run


async def said(client, home=None, **body):
    """As `begun`, and its turn as it is shown afterwards."""
    home, ids = await begun(client, home, **body)
    await ended(client, ids["run_id"])
    shown = (await client.get(f"/api/conversations/{home}")).json()
    return home, next(turn for turn in shown["turns"] if turn["id"] == ids["turn_id"])


def text_of(messages):
    return "".join(part["text"] for message in messages for part in message["parts"] if part["type"] == "text")


async def test_a_conversation_from_its_beginning_to_its_end(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        made = await client.post("/api/conversations", json={"title": "Gauges"})
        assert made.status_code == 201 and made.json()["num_turns"] == 0
        home, turn = await said(client, made.json()["id"], text="What does C read?", mode="instant", seed=3)
        told = (turn["status"], turn["parent"], turn["mode"], turn["model"])
        assert told == ("finished", None, "instant", "scripted")
        assert text_of(turn["asked"]) == "What does C read?" and text_of(turn["replied"]) == "12 bar"
        (listed,) = (await client.get("/api/conversations")).json()["data"]
        assert (listed["id"], listed["title"], listed["num_turns"]) == (home, "Gauges", 1)
        renamed = await client.patch(f"/api/conversations/{home}", json={"title": "Boiler"})
        assert renamed.status_code == 200 and renamed.json()["title"] == "Boiler"
        run = (await client.get(f"/api/runs/{turn['run_id']}")).json()
        assert run["status"] == "finished" and run["question"] == "What does C read?"
        assert [each["id"] for each in (await client.get("/api/runs")).json()["data"]] == [turn["run_id"]]
        assert (await client.delete(f"/api/conversations/{home}")).status_code == 204
        assert (await client.get(f"/api/conversations/{home}")).status_code == 404
        assert (await client.get(f"/api/runs/{turn['run_id']}")).status_code == 404
        assert service.store.runs() == []


async def test_the_model_reads_the_branch_that_it_is_asked_on(tmp_path):
    def script(request):
        return Said(" ".join(message.text for message in request.messages if message.role == "user"))

    async with served(script, store=tmp_path) as (client, _, _):
        home, first = await said(client, text="one")
        _, left = await said(client, home, text="left")
        _, right = await said(client, home, text="right", parent=first["id"])
        _, anew = await said(client, home, text="anew", parent=None)
        _, again = await said(client, home, text="left", parent=first["id"])
        assert [text_of(turn["replied"]) for turn in (left, right, anew, again)] == [
            "one left", "one right", "anew", "one left"]  # fmt: skip
        assert [turn["parent"] for turn in (left, right, anew)] == [first["id"], first["id"], None]
        unknown = await client.post(f"/api/conversations/{home}/turns", json={"text": "x", "parent": "nowhere"})
        assert unknown.status_code == 404 and unknown.json()["error"]["param"] == "parent"


async def test_conversations_are_searched_and_paged(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, _):
        for text in ("the boiler", "the pump", "the valve"):
            await said(client, text=text)
        found = (await client.get("/api/conversations", params={"search": "PUMP"})).json()
        assert [each["title"] for each in found["data"]] == ["the pump"] and not found["has_more"]
        page = (await client.get("/api/conversations", params={"limit": 2})).json()
        assert [each["title"] for each in page["data"]] == ["the valve", "the pump"] and page["has_more"]
        before = page["data"][-1]["changed"]
        rest = (await client.get("/api/conversations", params={"before": before})).json()
        assert [each["title"] for each in rest["data"]] == ["the boiler"]
        for bad in ({"limit": 0}, {"limit": "x"}, {"limit": 10_000}, {"before": "nan"}):
            reply = await client.get("/api/conversations", params=bad)
            assert reply.status_code == 400 and reply.json()["error"]["param"] in bad


async def test_what_nobody_knows_is_404_and_what_is_wrong_names_its_field(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        home = (await client.post("/api/conversations")).json()["id"]
        for method, path in (
            ("GET", "/api/conversations/x"), ("PATCH", "/api/conversations/x"), ("DELETE", "/api/conversations/x"),
            ("GET", "/api/conversations/x/export"), ("POST", "/api/conversations/x/turns"), ("GET", "/api/runs/x"),
            ("GET", "/api/runs/x/events"), ("POST", "/api/runs/x/cancel"), ("GET", "/api/pictures/x"),
            ("GET", "/v1/files/x"), ("DELETE", "/v1/files/x"), ("GET", "/v1/files/x/content"),
        ):  # fmt: skip
            reply = await client.request(method, path, json={"text": "?"} if method in ("POST", "PATCH") else None)
            assert reply.status_code == 404 and reply.json()["error"]["type"] == "not_found_error", path
        for field, bad in (
            ("text", {"text": "  "}), ("mode", {"mode": "quick"}), ("effort", {"effort": "some"}),
            ("mode", {"mode": "thinking", "effort": "none"}), ("model", {"model": "gpt"}), ("seed", {"seed": "1"}),
            ("files[0]", {"files": ["file-0"]}), ("files[0]", {"files": ["sha256:" + "0" * 64]}),
            ("tools", {"tools": ["hammer"]}), ("tools", {"tools": ["python"]}),
        ):  # fmt: skip
            reply = await client.post(f"/api/conversations/{home}/turns", json={"text": "What?", **bad})
            assert 400 <= reply.status_code < 405 and reply.json()["error"]["param"] == field, (bad, reply.text)
        assert service.store.runs() == [] and service.store.conversations.turns(home) == []


async def test_a_pictures_bytes_are_for_those_who_have_seen_it(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, backend, service):
        picture = await upload(client, "panel.png", png())
        home, turn = await said(client, files=[picture["id"]])
        (part,) = [part for part in turn["asked"][0]["parts"] if part["type"] == "image"]
        assert (part["width"], part["height"]) == (40, 30)
        shown = await client.get(f"/api/pictures/{part['sha256']}")
        assert shown.content == png() and shown.headers["content-type"] == "image/png"
        assert "immutable" in shown.headers["cache-control"] and "private" in shown.headers["cache-control"]
        assert shown.headers["content-disposition"] == "inline"
        assert "sandbox" in shown.headers["content-security-policy"]
        await client.delete(f"/v1/files/{picture['id']}")
        still = await client.get(f"/api/pictures/{part['sha256']}")
        assert still.status_code == 200, "the conversation shows it"
        _, again = await said(client, home, files=["sha256:" + part["sha256"]])
        assert again["asked"][0]["parts"][1]["sha256"] == part["sha256"]
        assert [len(message.pictures) for message in backend.requests[-1].messages] == [1, 0, 1]
        service.store.blobs.put(b"nobody's", "image/png")
        await client.delete(f"/api/conversations/{home}")
        assert (await client.get(f"/api/pictures/{part['sha256']}")).status_code == 404
        assert not list(tmp_path.rglob(part["sha256"]))


async def test_a_text_file_is_read_whole_and_bytes_of_no_kind_are_refused(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, backend, _):
        notes = await upload(client, "notes.md", "Gäuge C".encode())
        _, turn = await said(client, files=[notes["id"]])
        assert "Gäuge C" in backend.requests[-1].messages[-1].text and "[file notes.md, 8 bytes]" in (
            backend.requests[-1].messages[-1].text)  # fmt: skip
        assert turn["asked"][0]["parts"][1]["type"] == "file"
        odd = await upload(client, "odd.bin", b"\xff\xfe\x00")
        home = (await client.post("/api/conversations")).json()["id"]
        reply = await client.post(f"/api/conversations/{home}/turns", json={"text": "?", "files": [odd["id"]]})
        assert reply.status_code == 400 and reply.json()["error"]["param"] == "files[0]"


async def test_a_conversation_is_taken_along_as_json_or_markdown(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, _):
        home, _ = await said(client, text="What is *this*?")
        as_json = await client.get(f"/api/conversations/{home}/export?format=json")
        assert as_json.json()["turns"] == (await client.get(f"/api/conversations/{home}")).json()["turns"]
        assert as_json.headers["content-disposition"] == f'attachment; filename="{home}.json"'
        page = (await client.get(f"/api/conversations/{home}/export?format=markdown")).text
        assert page.startswith("# What is *this*?\n") and "## You\n\nWhat is *this*?" in page
        assert "## Narthex\n\n12 bar" in page
        assert (await client.get(f"/api/conversations/{home}/export?format=pdf")).status_code == 400


async def test_events_are_told_from_any_number_on(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        _, turn = await said(client, mode="instant")
        path = f"/api/runs/{turn['run_id']}/events"
        whole = (await client.get(path)).text
        stored = service.store.events(turn["run_id"])
        assert events_in(whole) == [(event.seq, event.type) for event in stored]
        assert events_in((await client.get(path, params={"after": 2})).text) == events_in(whole)[3:]
        resumed = await client.get(path, headers={"Last-Event-ID": "3"})
        assert events_in(resumed.text) == events_in(whole)[4:] and "event: cut" not in resumed.text
        assert (await client.get(path, params={"after": "x"})).json()["error"]["param"] == "after"


async def test_a_run_is_cancelled_by_its_id_with_all_its_agents(tmp_path):
    script = lambda request: Said("word " * 5000)  # noqa: E731
    async with served(script, store=tmp_path, word_s=0.002) as (client, backend, service):
        home, ids = await begun(client, mode="contemplating")
        async with asyncio.timeout(DEADLINE_S):
            while backend.num_open < 2:
                await asyncio.sleep(0.01)
        assert (await client.post(f"/api/runs/{ids['run_id']}/cancel")).status_code == 202
        run = await ended(client, ids["run_id"])
        assert run["status"] == "cut" and backend.num_open == 0
        told = (await client.get(f"/api/runs/{ids['run_id']}/events")).text
        assert told.endswith("event: cut\ndata: {}\n\n") and "agent_text_delta" in told
        (turn,) = (await client.get(f"/api/conversations/{home}")).json()["turns"]
        assert turn["status"] == "cut" and turn["replied"] is None
        again = await client.post(f"/api/runs/{ids['run_id']}/cancel")
        assert again.status_code == 202, "it has ended: nothing to do"
        assert not service.running


async def test_a_run_that_fails_leaves_its_question(tmp_path):
    from narthex.base.errors import BackendError

    def script(request):
        raise BackendError("the model is gone")

    async with served(script, store=tmp_path) as (client, _, _):
        _, turn = await said(client)
        assert turn["status"] == "failed" and turn["replied"] is None and text_of(turn["asked"]) == "What?"
        assert "the model is gone" in (await client.get(f"/api/runs/{turn['run_id']}/events")).text


async def test_a_conversation_that_is_deleted_while_it_is_answered_is_gone(tmp_path):
    async with served(lambda request: Said("word " * 5000), store=tmp_path, word_s=0.002) as (client, backend, service):
        home, ids = await begun(client)
        assert (await client.delete(f"/api/conversations/{home}")).status_code == 204
        assert backend.num_open == 0 and service.store.run(ids["run_id"]) is None
        assert service.store.events(ids["run_id"]) == [] and not service.running


async def test_a_tool_that_needs_leave_runs_where_an_administrator_gave_it(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, backend, service):
        home = (await client.post("/api/conversations")).json()["id"]
        refused = await client.post(f"/api/conversations/{home}/turns", json={"text": "?", "tools": ["python"]})
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "needs_approval"
        service.settings = ServeSettings(roles={"admin": RoleSettings(tools=("python", "zoom"))})
        await said(client, home, tools=["python"])
        assert [tool.name for tool in backend.requests[-1].tools] == ["python"]
        refused = await client.post(f"/api/conversations/{home}/turns", json={"text": "?", "tools": ["mark"]})
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "not_allowed"


async def test_a_server_that_keeps_nothing_says_so(tmp_path):
    async with served(lambda request: SAID) as (client, _, _):
        for path in ("/api/conversations", "/api/runs", "/v1/files"):
            reply = await client.get(path)
            assert reply.status_code == 404 and reply.json()["error"]["code"] == "not_kept"


async def test_many_listeners_hear_every_event_once_and_in_order(tmp_path, monkeypatch):
    """Some come early, some late, some are so slow that they have to catch up from the store."""
    monkeypatch.setattr("narthex.serve.live.MAX_BEHIND", 8)
    words = 400
    backend = ScriptedBackend(lambda request: Said("word " * words), word_s=0.001)
    async with served(backend, store=tmp_path) as (client, _, service):
        _, ids = await begun(client, mode="instant")

        async def listen(wait_s, each_s):
            await asyncio.sleep(wait_s)
            heard = []
            async for event in follow(service.store, service.live, ids["run_id"]):
                if event is not None:
                    heard.append(event)
                    await asyncio.sleep(each_s)
            return heard

        async with asyncio.timeout(60):
            all_heard = await asyncio.gather(*(listen(0.05 * place, 0.003 * (place % 3)) for place in range(12)))
        stored = service.store.events(ids["run_id"])
        assert len(stored) > words and all(heard == stored for heard in all_heard)


async def test_a_run_of_another_process_is_followed_through_the_store(tmp_path):
    from narthex.chat import AnswerDelta, Ledger, RunFinished, RunStarted

    with Store.open(tmp_path) as theirs, Store.open(tmp_path) as ours:
        theirs.append(RunStarted(run_id="r", seq=0, t=0, mode="instant", model="m"))
        theirs.flush()

        async def write():
            for seq in range(1, 4):
                theirs.append(AnswerDelta(run_id="r", seq=seq, t=0, text="x"))
                await asyncio.sleep(0.2)
            theirs.append(RunFinished(run_id="r", seq=4, t=1, answer="xxx", ledger=Ledger()))

        writing = asyncio.create_task(write())
        heard = [event.seq async for event in follow(ours, Live(), "r") if event is not None]
        await writing
        assert heard == [0, 1, 2, 3, 4]


async def test_files_are_uploaded_listed_and_deleted(tmp_path):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, _):
        first = await upload(client, "../../etc/passwd", b"one")
        assert (first["filename"], first["bytes"], first["purpose"]) == ("passwd", 3, "user_data")
        second = await upload(client, "b.png", png(), purpose="vision")
        listed = (await client.get("/v1/files")).json()
        assert [each["id"] for each in listed["data"]] == [second["id"], first["id"]] and not listed["has_more"]
        page = (await client.get("/v1/files", params={"limit": 1})).json()
        assert page["has_more"] and page["last_id"] == second["id"]
        after = (await client.get("/v1/files", params={"after": second["id"]})).json()
        assert [each["id"] for each in after["data"]] == [first["id"]]
        content = await client.get(f"/v1/files/{first['id']}/content")
        assert content.content == b"one" and content.headers["content-disposition"].startswith("attachment")
        assert (await client.delete(f"/v1/files/{first['id']}")).json()["deleted"] is True
        assert (await client.get(f"/v1/files/{first['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"data": {"purpose": "vision"}, "files": {"data": ("a", b"x")}}, "file"),
        ({"data": {"purpose": "vision"}, "files": {"file": ("a", b"")}}, "file"),
        ({"data": {"purpose": "fun"}, "files": {"file": ("a", b"x")}}, "purpose"),
        ({"files": {"file": ("a", b"x")}}, "purpose"),
        ({"json": {"file": "x"}}, None),
        ({"content": b"--x\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "file"),
        ({"content": b"nonsense", "headers": {"content-type": "multipart/form-data"}}, None),
    ],
)
async def test_forms_that_hold_no_file_are_refused(tmp_path, form, param):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        reply = await client.post("/v1/files", **form)
        assert reply.status_code == 400 and reply.json()["error"].get("param") == param, reply.text
        assert service.store.files.list(user="", limit=9) == []


def events_in(text):
    """(id, type) of each event of a stream."""
    found = []
    for event in text.split("\n\n"):
        if event.startswith("id: "):
            head, data = event.split("\n")
            found.append((int(head.removeprefix("id: ")), json.loads(data.removeprefix("data: "))["type"]))
    return found


def png():
    import base64

    return base64.b64decode(data_uri().partition(",")[2])


async def upload(client, name, data, purpose="user_data"):
    reply = await client.post("/v1/files", data={"purpose": purpose}, files={"file": (name, data)})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_who_sees_the_end_finds_the_reply_and_who_sees_the_beginning_the_question(tmp_path, monkeypatch):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        kept, finish = service.store.conversations, service.store.conversations.finish_turn

        def slowly(*what):
            time.sleep(0.3)
            finish(*what)

        monkeypatch.setattr(kept, "finish_turn", slowly)
        home = (await client.post("/api/conversations")).json()["id"]
        asking = asyncio.create_task(client.post(f"/api/conversations/{home}/turns", json={"text": "What?"}))
        async with asyncio.timeout(DEADLINE_S):
            while not service.live._runs:
                await asyncio.sleep(0)
        (run_id,) = service.live._runs
        async for event in follow(service.store, service.live, run_id):
            if event is not None:
                turn = kept.turn_of(run_id)
                assert turn is not None and (turn.replied is not None) >= (event.type == "run_finished"), event.type
        assert (await asking).status_code == 201 and turn.replied[-1].text == "12 bar"


async def test_what_is_deleted_meanwhile_does_not_come_back(tmp_path, monkeypatch):
    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        home = (await client.post("/api/conversations")).json()["id"]
        begin = service.store.conversations.begin_turn

        def too_late(*what, **how):
            service.store.erase_conversation(home)
            return begin(*what, **how)

        monkeypatch.setattr(service.store.conversations, "begin_turn", too_late)
        reply = await client.post(f"/api/conversations/{home}/turns", json={"text": "What?"})
        assert reply.status_code == 404 and service.store.conversations.record(home) is None


@pytest.mark.parametrize("path", ["turns", "/v1/responses"])
async def test_what_cannot_be_kept_is_not_acknowledged(tmp_path, monkeypatch, path):
    from narthex.store import StoreError

    def broken(*_, **__):
        raise StoreError("could not write: the disk is full")

    async with served(lambda request: SAID, store=tmp_path) as (client, _, service):
        home = (await client.post("/api/conversations")).json()["id"]
        place = f"/api/conversations/{home}/turns" if path == "turns" else path
        body = {"text": "What?"} if path == "turns" else {"model": "scripted", "input": "What?", "background": True}
        for owner, name in ((service.store, "append"), (service.store.conversations, "begin_turn"),
                            (service.store.responses, "add")):  # fmt: skip
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, broken)
                reply = await client.post(place, json=body)
            is_of_it = name == "append" or (name == "begin_turn") == (path == "turns")
            assert (reply.status_code == 503) == is_of_it, (name, reply.text)
