"""One chat's messages as a tree: an edit or a new answer is a sibling, so nothing is written over."""

from collections.abc import Iterable

from bitconverter.store.records import Node


class ChatTree:
    """The tree and the branch that is shown, from a first message to `leaf`."""

    def __init__(self, nodes: Iterable[Node] = (), leaf: int | None = None) -> None:
        """Nodes in any order; a parent that is not there, or a circle of parents, makes a first message."""
        self._nodes = {node.id: node for node in sorted(nodes, key=lambda n: (n.created, n.id))}
        self._children: dict[int | None, list[Node]] = {}
        for node in self._nodes.values():
            if node.parent not in self._nodes:
                node.parent = None
            self._children.setdefault(node.parent, []).append(node)
        self._break_circles()
        self.leaf: int | None = None
        if leaf in self._nodes:
            self.leaf = leaf
        elif self._nodes:
            self.leaf = self._deepest(self._children[None][-1]).id

    def _break_circles(self) -> None:
        reached: set[int] = set()
        pending = list(self._children.get(None, ()))
        left = dict(self._nodes)
        while True:
            while pending:
                node = pending.pop()
                reached.add(node.id)
                left.pop(node.id, None)
                pending += self._children.get(node.id, ())
            if not left:
                return
            node = next(iter(left.values()))  # the oldest of a circle
            self._children[node.parent].remove(node)
            node.parent = None
            self._children.setdefault(None, []).append(node)
            pending.append(node)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def node(self, node_id: int) -> Node:
        """The message with this id."""
        return self._nodes[node_id]

    def nodes(self) -> list[Node]:
        """Every message; each comes after the one that it follows, whatever the clock said."""
        result: list[Node] = []
        pending = self._children.get(None, [])[::-1]
        while pending:
            result.append(pending.pop())
            pending += self._children.get(result[-1].id, [])[::-1]
        return result

    def path(self) -> list[Node]:
        """The branch that is shown, first message first."""
        result: list[Node] = []
        at = self.leaf
        while at is not None:
            node = self._nodes[at]
            result.append(node)
            at = node.parent
        return result[::-1]

    def versions(self, node: Node) -> list[Node]:
        """The node and its siblings, oldest first."""
        return self._children[node.parent]

    def add(self, node: Node) -> None:
        """Append under `node.parent`; the branch shown ends there now."""
        self._nodes[node.id] = node
        siblings = self._children.setdefault(node.parent, [])
        siblings.append(node)
        siblings.sort(key=lambda n: (n.created, n.id))
        self.leaf = node.id

    def show(self, node: Node) -> None:
        """Show the branch through `node`: below it the newest messages, unless it is shown already."""
        if node not in self.path():
            self.leaf = self._deepest(node).id

    def below(self, node: Node) -> list[Node]:
        """The node and all that follows from it, on every branch."""
        result, pending = [], [node]
        while pending:
            result.append(pending.pop())
            pending += self._children.get(result[-1].id, ())
        return result

    def remove(self, node: Node) -> list[Node]:
        """Take the node and all below it away and return them; a sibling, or what is above, is shown then."""
        shown = node in self.path()
        gone = self.below(node)
        for each in gone:
            del self._nodes[each.id]
            self._children.pop(each.id, None)
        siblings = self._children[node.parent]
        place = siblings.index(node)
        siblings.remove(node)
        if shown:
            if siblings:
                self.leaf = self._deepest(siblings[max(place - 1, 0)]).id
            else:
                self.leaf = node.parent
        return gone

    def put_back(self, nodes: Iterable[Node], leaf: int | None) -> None:
        """Undo remove(): the nodes that it returned, and the leaf from before."""
        for node in nodes:
            self._nodes[node.id] = node
            siblings = self._children.setdefault(node.parent, [])
            siblings.append(node)
            siblings.sort(key=lambda n: (n.created, n.id))
        self.leaf = leaf

    def _deepest(self, node: Node) -> Node:
        while self._children.get(node.id):
            node = self._children[node.id][-1]
        return node
