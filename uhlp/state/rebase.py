"""rebase: what one repository has and another does not, put on top of the other's history."""

import pygit2
from pygit2.enums import SortMode

from uhlp.errors import RevisionConflict
from uhlp.state.trees import new_objects


def rebase(repository: pygit2.Repository, ours: pygit2.Oid, onto: pygit2.Oid) -> tuple[pygit2.Oid, list[pygit2.Oid]]:
    """The tip of our commits on top of `onto`, and the objects that were written; no reference moves.

    RevisionConflict with details.paths when both sides have changed the same place, or ours hold a merge.
    """
    written: list[pygit2.Oid] = []
    tip = repository[onto].peel(pygit2.Commit)
    walker = repository.walk(ours, SortMode.TOPOLOGICAL | SortMode.REVERSE)
    walker.hide(onto)
    for commit in walker:
        if len(commit.parents) > 1:
            raise RevisionConflict(f"{str(commit.id)[:12]} is a merge and cannot be put on top of the remote's history")
        before = commit.parents[0].tree.id if commit.parents else repository.TreeBuilder().write()
        index = repository.merge_trees(before, tip.tree, commit.tree)
        if index.conflicts is not None:
            paths = sorted({side.path for sides in index.conflicts for side in sides if side is not None})
            raise RevisionConflict(
                f"the remote's branch has changed {', '.join(paths)} too; read it again and repeat the change",
                details={"paths": paths},
            )
        tree = repository[index.write_tree(repository)].peel(pygit2.Tree)
        if tree.id == tip.tree.id:
            continue  # the remote has it already
        written.extend(new_objects(tree, tip.tree))
        committer = pygit2.Signature("UHLP", "uhlp@localhost", commit.committer.time, 0)
        made = repository.create_commit(None, commit.author, committer, commit.message, tree.id, [tip.id])
        written.append(made)
        tip = repository[made].peel(pygit2.Commit)
    return tip.id, written
