"""Contracts of the semi-private parts of SQLAlchemy 2.1 that this layer rests on: the first tests to look at when
a new version breaks something."""

from __future__ import annotations

import inspect as python
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.engine.result import ChunkedIteratorResult, IteratorResult
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.orm import (
    ColumnProperty,
    DeclarativeBase,
    InstrumentedAttribute,
    Mapped,
    MappedColumn,
    Session,
    joinedload,
    mapped_column,
    relationship,
)
from sqlalchemy.orm.attributes import QueryableAttribute
from sqlalchemy.orm.interfaces import CompileStateOption, PropComparator, _AttributeOptions
from sqlalchemy.orm.strategies import _JoinedLoader, _PostLoader
from sqlalchemy.orm.util import LoaderCriteriaOption
from sqlalchemy.sql.lambdas import PyWrapper
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.util.concurrency import in_greenlet


class Base(DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = "parents"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(deferred=True)
    children: Mapped[list[Child]] = relationship()


class Child(Base):
    __tablename__ = "children"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("parents.id"))


def parameters(function: Any) -> list[str]:
    return list(python.signature(function).parameters)


def test_the_version_is_the_one_that_was_tried() -> None:
    assert sqlalchemy.__version__.startswith("2.1.")


def test_signatures_that_are_overridden() -> None:
    assert parameters(ColumnProperty.setup) == ["self", "context", "query_entity", "path", "adapter", "kwargs"]
    assert parameters(ColumnProperty.create_row_processor) == [
        "self",
        "context",
        "query_entity",
        "path",
        "mapper",
        "result",
        "adapter",
        "populators",
    ]
    assert parameters(ColumnProperty.merge) == [
        "self",
        "session",
        "source_state",
        "source_dict",
        "dest_state",
        "dest_dict",
        "load",
        "_recursive",
        "_resolve_conflict_map",
    ]
    assert parameters(MappedColumn.declarative_scan) == [
        "self",
        "decl_scan",
        "registry",
        "cls",
        "originating_module",
        "key",
        "mapped_container",
        "annotation",
        "extracted_mapped_annotation",
        "is_dataclass_field",
    ]
    assert parameters(ColumnProperty.instrument_class) == ["self", "mapper"]
    assert parameters(ColumnProperty.post_instrument_class) == ["self", "mapper"]
    assert parameters(LoaderCriteriaOption._resolve_where_criteria) == ["self", "ext_info"]
    for owner, name in (
        (MappedColumn, "_copy"),
        (MappedColumn, "_adjust_for_existing_column"),
        (MappedColumn, "_get_dataclass_setup_options"),
        (MappedColumn, "mapper_property_to_assign"),
        (QueryableAttribute, "_column_strategy_attrs"),
        (PropComparator, "_bulk_update_tuples"),
        (ColumnProperty.Comparator, "_memoized_method___clause_element__"),
        (ColumnProperty.Comparator, "_fallback_getattr"),
        (ColumnProperty.Comparator, "_memoized_attr_info"),
        (ColumnProperty, "_get_context_loader"),
        (ColumnProperty, "_get_strategy"),
        (InstrumentedAttribute, "__get__"),
    ):
        assert hasattr(owner, name), name
    assert _AttributeOptions._fields[0] == "dataclasses_init"
    assert len(_AttributeOptions._fields) == 8
    assert PyWrapper
    assert callable(in_greenlet)  # asked of async engines only: it needs greenlet


def test_a_compile_state_option_is_part_of_the_cache_key_and_reaches_eager_loads() -> None:
    seen: list[str] = []

    class Spying(ColumnProperty[Any]):
        inherit_cache = True

    class Option(CompileStateOption):
        __slots__ = ("word",)
        _cache_key_traversal = [("word", InternalTraversal.dp_plain_obj)]  # noqa: RUF012 - SQLAlchemy's form
        propagate_to_loaders = False
        _is_criteria_option = False

        def __init__(self, word: str) -> None:
            self.word = word

        def process_compile_state(self, compile_state: Any) -> None:
            compile_state.global_attributes["word"] = self.word
            seen.append(self.word)

    def key(word: str) -> Any:
        return select(Parent).options(Option(word))._generate_cache_key()

    assert key("a") == key("a")
    assert key("a") != key("b")
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for word in ("a", "b", "a"):
            session.scalars(select(Parent).options(Option(word), joinedload(Parent.children))).unique().all()
    engine.dispose()
    assert seen == ["a", "b"]


def test_a_load_event_gets_a_context_of_its_own_for_each_execution() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    contexts: list[Any] = []

    @event.listens_for(Parent, "load", raw=True)
    def loaded(state: Any, context: Any) -> None:
        contexts.append(context)
        context.attributes[Parent] = state
        assert state.load_options == context.propagated_loader_options

    with Session(engine) as session:
        session.add_all([Parent(id=1), Parent(id=2)])
        session.commit()
        for _ in range(2):
            session.expunge_all()
            session.scalars(select(Parent)).all()
    event.remove(Parent, "load", loaded)
    engine.dispose()
    assert len(contexts) == 4
    assert contexts[0] is contexts[1] is not contexts[2]
    assert {"refresh_state", "populate_existing", "execution_options", "attributes", "compile_state"} <= set(
        type(contexts[0]).__slots__
    )


def test_orm_results_are_buffered_through_these_attributes() -> None:
    assert {"chunks", "iterator", "dynamic_yield_per"} <= set(python.signature(ChunkedIteratorResult).parameters) | {
        "iterator"
    }
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        result: Any = session.execute(select(Parent))
        assert isinstance(result, IteratorResult)
        assert list(result.iterator) == []
    engine.dispose()


def test_states_take_attributes_and_know_their_session_by_id() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        parent = Parent(id=1)
        session.add(parent)
        state: Any = sqlalchemy.inspect(parent)
        state.__dict__["_mine"] = 1
        assert state.session_id == session.hash_key
        assert "_mine" not in state.__getstate__()
        session.flush()
        assert state.committed_state == {}
        assert {s.obj() for s in session.identity_map.all_states()} == {parent}
    engine.dispose()


def test_relationships_are_set_up_through_methods_of_the_property_itself() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    prop: Any = sqlalchemy.inspect(Parent).relationships["children"]
    assert parameters(prop.setup) == ["context", "query_entity", "path", "adapter", "kwargs"]
    assert parameters(prop.create_row_processor)[-1] == "populators"
    kinds = {(("lazy", "select"),): False, (("lazy", "joined"),): True, (("lazy", "selectin"),): True}
    for key, eager in kinds.items():
        assert isinstance(prop._get_strategy(key), _JoinedLoader | _PostLoader) is eager
    seen: list[str] = []
    original = prop.setup, prop.create_row_processor
    vars(prop)["setup"] = lambda context, entity, path, adapter, **kw: seen.append("setup")
    vars(prop)["create_row_processor"] = lambda *args: seen.append(
        type(args[0].compile_state.global_attributes).__name__
    )
    try:
        with Session(engine) as session:
            session.add(Parent(id=1))
            session.flush()
            session.scalars(select(Parent).options(joinedload(Parent.children))).all()
    finally:
        vars(prop).update(setup=original[0], create_row_processor=original[1])
        engine.dispose()
    assert seen == ["setup", "dict"]


def test_a_criteria_option_knows_the_criteria_that_a_select_is_part_of() -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    seen: list[int] = []

    class Option(LoaderCriteriaOption):
        __slots__ = ()
        _cache_key_traversal = LoaderCriteriaOption._traverse_internals

        def _should_include(self, compile_state: Any) -> bool:
            seen.append(len(compile_state._containing_loader_criteria))
            return False if seen[-1] else super()._should_include(compile_state)

    inside = Parent.id.in_(select(Child.parent_id))
    with Session(engine) as session:
        session.scalars(select(Parent).options(Option(Parent, inside), Option(Child, Child.id == 0))).all()
    engine.dispose()
    assert seen == [0, 1]


def test_what_after_begin_raises_leaves_the_connection_in_the_transaction() -> None:
    engine = create_engine("sqlite://")

    class Own(Session): ...

    @event.listens_for(Own, "after_begin")
    def begun(session: Session, transaction: Any, connection: Any) -> None:
        assert not transaction.nested
        connection.invalidate()
        raise ZeroDivisionError

    with Own(engine) as session:
        with pytest.raises(ZeroDivisionError):
            session.execute(sqlalchemy.text("SELECT 1"))
        with pytest.raises(PendingRollbackError):  # the hook is not asked again, so it has to see to this itself
            session.execute(sqlalchemy.text("SELECT 1"))
    engine.dispose()
