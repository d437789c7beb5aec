"""The tree of a chat: versions, branches, removal and its undo, and trees that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitconverter.store.chat_tree import ChatTree
from bitconverter.store.records import Node


def _node(number: int, parent: int | None, role: str = "user") -> Node:
    return Node(role, f"text {number}", parent, id=number, created=number, ending="stop")


@pytest.fixture
def tree() -> ChatTree:
    """1 - 2 - 3 - 4, a second answer 5 to 1, and an edited question 6 in place of 3."""
    result = ChatTree()
    for number, parent in ((1, None), (2, 1), (3, 2), (4, 3), (5, 1), (6, 2)):
        result.add(_node(number, parent))
    return result


def _ids(tree: ChatTree) -> list[int]:
    return [node.id for node in tree.path()]


def test_an_edit_is_a_branch_and_both_can_be_shown(tree):
    assert _ids(tree) == [1, 2, 6]
    tree.show(tree.node(3))
    assert _ids(tree) == [1, 2, 3, 4]
    tree.show(tree.node(1))  # already on the branch: nothing changes
    assert _ids(tree) == [1, 2, 3, 4]
    tree.show(tree.node(5))
    assert _ids(tree) == [1, 5]
    assert [n.id for n in tree.versions(tree.node(5))] == [2, 5]


def test_a_removed_branch_comes_back_as_it_was(tree):
    tree.show(tree.node(3))
    leaf = tree.leaf
    gone = tree.remove(tree.node(2))
    assert {n.id for n in gone} == {2, 3, 4, 6} and _ids(tree) == [1, 5]
    tree.put_back(gone, leaf)
    assert _ids(tree) == [1, 2, 3, 4]
    tree.show(tree.node(6))
    assert _ids(tree) == [1, 2, 6]


def test_without_a_sibling_what_is_above_is_shown(tree):
    tree.show(tree.node(4))
    tree.remove(tree.node(4))
    assert _ids(tree) == [1, 2, 3]
    gone = tree.remove(tree.node(1))
    assert _ids(tree) == [] and len(tree) == 0
    tree.put_back(gone, 3)
    assert _ids(tree) == [1, 2, 3]


def test_removing_what_is_not_shown_changes_nothing_that_is(tree):
    tree.remove(tree.node(3))
    assert _ids(tree) == [1, 2, 6]


@given(st.lists(st.tuples(st.integers(1, 12), st.one_of(st.none(), st.integers(1, 14))), max_size=14))
def test_any_parents_make_a_tree_that_holds_every_message(pairs):
    nodes = list({number: _node(number, parent) for number, parent in pairs}.values())
    tree = ChatTree(nodes, leaf=3)
    seen, pending = set(), [n for n in tree.nodes() if n.parent is None]
    while pending:
        node = pending.pop()
        assert node.id not in seen
        seen.update({node.id})
        pending += [n for n in tree.nodes() if n.parent == node.id]
    assert seen == {n.id for n in nodes}
    for node in nodes:
        tree.show(node)
        assert node in tree.path()
