"""Declarative base and the column types every table shares."""

from typing import Any

from sqlalchemy import JSON, BigInteger, MetaData, Uuid
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.functions import FunctionElement

Micros = BigInteger  # UTC, microseconds since 1970: one comparison on every database, no time zones.
JsonValue = JSON(none_as_null=True)
UuidKey = Uuid(as_uuid=True)


class Base(DeclarativeBase):
    """All tables; constraint names are spelled out so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class db_now(FunctionElement[int]):  # noqa: N801 - spelled as the SQL function that it is
    """The database's own clock in microseconds: leases never compare two machines' clocks."""

    type = BigInteger()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: Any, **kw: Any) -> str:  # noqa: ARG001, ANN401 - SQLAlchemy's signature
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"  # unixepoch('subsec') needs SQLite 3.42


@compiles(db_now, "postgresql")
def _postgres_now(element: db_now, compiler: Any, **kw: Any) -> str:  # noqa: ARG001, ANN401 - SQLAlchemy's signature
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
