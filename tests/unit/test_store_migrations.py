"""The steps of the tables: up and down with data in them, a copy before, and nothing half done."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from narthex.base import UserError
from narthex.chat import Message
from narthex.store import Store, StoreError, database, schema

STEPS = sorted(path.name[4:8] for path in (database._MIGRATIONS / "versions").glob("rev_*.py"))
PICTURE = "a" * 64

# As Narthex wrote it before there were steps.
VERSION_2 = f"""
create table schema_version (version integer not null);
insert into schema_version values (2);
create table runs (id varchar not null, started float not null, ended float, mode varchar not null,
  model varchar not null, status varchar not null, question text not null, owner varchar not null,
  constraint pk_runs primary key (id));
create index ix_runs_started on runs (started);
create index ix_runs_status on runs (status);
create table events (run_id varchar not null, seq integer not null, json text not null,
  constraint pk_events primary key (run_id, seq),
  constraint fk_events_run_id_runs foreign key(run_id) references runs (id)) without rowid;
create table blobs (sha256 varchar(64) not null, media_type varchar not null, size_bytes integer not null,
  created float not null, constraint pk_blobs primary key (sha256));
create table conversations (id varchar not null, started float not null, changed float not null, title text not null,
  settings text not null, constraint pk_conversations primary key (id));
create index ix_conversations_changed on conversations (changed);
create table turns (id varchar not null, conversation_id varchar not null, number integer not null,
  run_id varchar not null, asked text not null, replied text, constraint pk_turns primary key (id),
  constraint fk_turns_conversation_id_conversations foreign key(conversation_id) references conversations (id),
  constraint uq_turns_conversation_id unique (conversation_id, number));
insert into runs values ('r1', 5, 6, 'thinking', 'nano', 'done', 'Gauge C?', 'x');
insert into events values ('r1', 0,
  '{{"run_id":"r1","agent_id":null,"seq":0,"t":0.0,"type":"run_started","mode":"thinking","model":"nano"}}');
insert into events values ('r1', 1, '{{"run_id":"r1","agent_id":"a","seq":1,"t":0.1,"type":"tool_finished",'
  || '"call_id":"1","name":"zoom","parts":[{{"type":"image","sha256":"{"b" * 64}","media_type":"image/png",'
  || '"width":1,"height":1}}]}}');
insert into conversations values ('c1', 5, 7, 'Gauge C?', '{{"mode":"thinking"}}');
"""


def write_version_2(folder):
    asked = [{"role": "user", "parts": [
        {"type": "text", "text": "Gauge C, GROSS?"},
        {"type": "image", "sha256": PICTURE, "media_type": "image/png", "width": 2, "height": 2}]}]  # fmt: skip
    replied = [{"role": "assistant", "parts": [{"type": "text", "text": "80 bar"}]}]
    plain = [{"role": "user", "parts": [{"type": "text", "text": "And D?"}]}]
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "narthex.db")) as connection, connection:
        connection.executescript(VERSION_2)
        compact = {"separators": (",", ":")}
        for row in (
            ("t1", "c1", 0, "r1", json.dumps(asked, **compact), json.dumps(replied, **compact)),
            ("t2", "c1", 2, "gone", json.dumps(plain, **compact), None),
        ):
            connection.execute("insert into turns values (?, ?, ?, ?, ?, ?)", row)


def shape(path):
    """Tables, columns, keys and indexes, with the defaults of columns."""
    engine = create_engine(f"sqlite:///{path}")
    there = inspect(engine)
    told = {}
    for table in sorted(there.get_table_names()):
        columns = {
            column["name"]: (str(column["type"]), column["nullable"], (column["default"] or "").strip("'"))
            for column in there.get_columns(table)
        }
        indexes = sorted((index["name"], tuple(index["column_names"])) for index in there.get_indexes(table))
        keys = [tuple(there.get_pk_constraint(table)["constrained_columns"])]
        keys += sorted((key["name"], tuple(key["constrained_columns"])) for key in there.get_foreign_keys(table))
        keys += sorted((key["name"], tuple(key["column_names"])) for key in there.get_unique_constraints(table))
        told[table] = (columns, indexes, keys)
    engine.dispose()
    return told


def dump(path, *tables):
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"select * from {table} order by 1").fetchall() for table in tables}


def test_the_last_step_is_the_one_that_the_code_names():
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD == STEPS[-1]


def test_the_steps_lead_to_the_tables_of_the_code(tmp_path):
    write_version_2(tmp_path / "old")
    Store.open(tmp_path / "old").close()
    Store.open(tmp_path / "new").close()
    assert shape(tmp_path / "old" / "narthex.db") == shape(tmp_path / "new" / "narthex.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'old' / 'narthex.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()


def test_a_store_of_version_2_keeps_what_was_said(tmp_path):
    write_version_2(tmp_path)
    with Store.open(tmp_path) as store:
        first, _ = store.conversations.turns("c1")
        assert (first.id, first.asked[0].text, first.replied[0].text) == ("t1", "Gauge C, GROSS?", "80 bar")
        assert store.run("r1").question == "Gauge C?" and [item.seq for item in store.events("r1")] == [0, 1]
        store.conversations.begin_turn("c1", [Message.of("user", "more")], run_id="r3", settings={})
    found = dump(tmp_path / "narthex.db", "turns", "run_blobs", "schema_version")
    columns = list(shape(tmp_path / "narthex.db")["turns"][0])
    rows = [dict(zip(columns, row, strict=True)) for row in found["turns"] if row[0] in ("t1", "t2")]
    assert [(row["parent"], row["started"]) for row in rows] == [(None, 5.0), ("t1", 7.0)]
    assert rows[0]["words"] == "gauge c, gross?\n80 bar\n" and rows[0]["settings"] == '{"mode":"thinking"}'
    assert found["run_blobs"] == [("r1", PICTURE), ("r1", "b" * 64)]
    assert found["schema_version"] == [(schema.LAST_NUMBER,)], "an older Narthex sees that this is not for it"


def test_every_step_goes_back_and_forth_with_data_in_the_tables(tmp_path):
    write_version_2(tmp_path)
    path = tmp_path / "narthex.db"
    before = dump(path, "runs", "events", "conversations", "turns", "schema_version")
    shapes = {}
    for step in STEPS[1:]:
        database.migrate(path, step)
        shapes[step] = shape(path)
    newest = dump(path, "runs", "events", "conversations", "turns", "run_blobs")
    for step in reversed(STEPS[1:]):
        assert shape(path) == shapes[step]
        database.migrate(path, STEPS[STEPS.index(step) - 1])
    for step in STEPS[1:3]:
        database.migrate(path, step)
    assert dump(path, "runs", "events") == {table: newest[table] for table in ("runs", "events")}
    database.migrate(path, STEPS[0])
    database.migrate(path, STEPS[1])
    assert dump(path, "runs", "events") == {table: before[table] for table in ("runs", "events")}
    assert dump(path, "schema_version") == {"schema_version": before["schema_version"]}


def test_one_step_back_loses_nothing_of_the_older_tables(tmp_path):
    write_version_2(tmp_path)
    path, tables = tmp_path / "narthex.db", ("runs", "events", "conversations", "turns", "schema_version")
    before = dump(path, *tables)
    database.migrate(path, schema.HEAD)
    database.migrate(path, "0002")
    assert dump(path, *tables) == before


def test_a_copy_is_made_before_and_opens_as_it_was(tmp_path):
    write_version_2(tmp_path)
    before = dump(tmp_path / "narthex.db", "runs", "events", "conversations", "turns", "schema_version")
    Store.open(tmp_path).close()
    (copy,) = (tmp_path / "backups").iterdir()
    assert copy.name == "narthex-0002.db"
    assert dump(copy, *before) == before
    Store.open(tmp_path).close()
    assert list((tmp_path / "backups").iterdir()) == [copy], "once, not on every opening"


def test_without_a_copy_nothing_is_changed(tmp_path):
    write_version_2(tmp_path)
    before = shape(tmp_path / "narthex.db")
    (tmp_path / "backups").write_text("in the way")
    with pytest.raises(StoreError, match="could not open the store"):
        Store.open(tmp_path)
    assert shape(tmp_path / "narthex.db") == before


def test_a_step_that_fails_half_way_leaves_the_store_as_it_was(tmp_path):
    write_version_2(tmp_path)
    with closing(sqlite3.connect(tmp_path / "narthex.db")) as connection, connection:
        connection.execute("update turns set asked = 'no JSON' where id = 't2'")
    before = shape(tmp_path / "narthex.db")
    with pytest.raises(ValueError):
        database.migrate(tmp_path / "narthex.db", schema.HEAD)
    assert shape(tmp_path / "narthex.db") == before


def test_a_store_at_a_step_that_nobody_here_knows_is_left_alone(tmp_path):
    Store.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "narthex.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = '9999'")
    before = (tmp_path / "narthex.db").read_bytes()
    with pytest.raises(UserError, match="step 9999") as caught:
        Store.open(tmp_path)
    assert caught.value.hint and (tmp_path / "narthex.db").read_bytes() == before
