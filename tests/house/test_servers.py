"""The servers that other tests stand on."""

import sqlite3

import psycopg
import pytest
from redis import Redis


@pytest.mark.parametrize("_time", [1, 2])
def test_each_test_finds_an_empty_redis(redis_url, _time):
    """What one test leaves in Redis the next one does not see."""
    with Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


@pytest.mark.parametrize("_time", [1, 2])
def test_each_test_finds_an_empty_postgres(postgres_url, _time):
    """The cluster holds no database of an earlier test."""
    with psycopg.connect(postgres_url) as connection:
        names = connection.execute("SELECT datname FROM pg_database").fetchall()
    assert {name for (name,) in names} == {"postgres", "template0", "template1"}


def test_a_database_is_fresh(database_url):
    """A test's database exists, holds no table, and is named as a user would name it."""
    if database_url.startswith("sqlite:///"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        connection.close()
    else:
        with psycopg.connect(database_url) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
    assert tables == []


def test_sqlite_is_the_one_that_serves():
    """Tests run on the SQLite that the product runs on, which has no WAL-reset bug."""
    assert sqlite3.sqlite_version_info >= (3, 51, 3)
